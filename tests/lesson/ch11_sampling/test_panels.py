"""Notebook 11's panels: states of a run, the variance of a step, samplers, interpolation and inpainting."""

import re

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.lesson.ch11_sampling import panels
from ddpm_lesson.lesson.ch11_sampling.panels import halves
from ddpm_lesson.lesson.ch11_sampling.plots import completions_picture
from ddpm_lesson.sample import ddim_steps, ddpm_steps, final_samples, inpaint_steps, spaced_times
from tests.conftest import WavyEps
from tests.lesson.shown import shown

SHAPE = (1, 8, 8)


MODEL = DenoiseDiffusion(WavyEps())
IMAGES = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def steps():
    return list(ddpm_steps(MODEL, (3, *SHAPE), torch.Generator().manual_seed(1), n_steps=6))


PANELS = {
    "show_states": lambda: panels.show_states(steps(), 1000, "3 patterns"),
    "show_step_variance": panels.show_step_variance,
    "show_samplers": lambda: panels.show_samplers(MODEL, SHAPE, (2, 4), n_images=3),
    "show_interpolation": lambda: panels.show_interpolation(MODEL, tuple(IMAGES), (50, 500, 999), n_steps=3),
    "show_inpainting": lambda: panels.show_inpainting(MODEL, IMAGES[0], n_steps=3, n_images=2),
}


def test_first_state_has_nothing_to_compare_with_and_later_ones_tell_their_change():
    states, run = PANELS["show_states"](), steps()
    assert "at t = 999 of 1000" in shown(states)[1]
    assert "nothing to compare with" in shown(states)[1]
    states.controls["step"].value = 4
    moved = float((run[4].x0_hat - run[3].x0_hat).square().mean().sqrt())
    assert f"since t = {run[3].t} x0_hat has moved {moved:.3f}" in shown(states)[1]


def test_no_states_are_refused():
    with pytest.raises(ValueError, match="steps must hold at least one state"):
        panels.show_states([], 1000)


def test_variances_in_words_are_those_of_the_spaced_chain():
    variance = panels.show_step_variance()
    variance.controls["n_steps"].value = 50
    variance.controls["std"].value = 0.2
    schedule = NoiseSchedule.linear().spaced(spaced_times(1000, 50)[::-1])
    alt = shown(variance)[1]
    assert "at t = 39" in alt
    assert f"beta' {float(schedule.beta[1]):.2g}," in alt
    assert f"beta_tilde' {float(schedule.beta_tilde[1]):.2g}" in alt


def test_for_wide_data_beta_is_right_and_for_thin_data_it_is_too_much():
    variance = panels.show_step_variance()
    variance.controls["n_steps"].value = 10

    def ratio():
        return float(re.search(r"is ([\d.]+) times what is right", shown(variance)[1]).group(1))

    variance.controls["std"].value = 1.0
    assert ratio() == pytest.approx(1.0, abs=0.011)
    variance.controls["std"].value = 0.01
    schedule = NoiseSchedule.linear().spaced(spaced_times(1000, 10)[::-1])
    assert ratio() == pytest.approx(float((schedule.beta / schedule.beta_tilde)[1]), abs=0.011)


def test_samples_are_those_of_the_sampler():
    samplers = PANELS["show_samplers"]()
    few, many = (
        final_samples(ddim_steps(MODEL, (6, *SHAPE), n, generator=torch.Generator().manual_seed(0))) for n in (2, 4)
    )
    far = float((few[:3] - many[:3]).square().mean().sqrt())
    assert f"difference {far:.2f}" in shown(samplers)[1]
    samplers.controls["n_steps"].value = 4
    assert "difference 0.00" in shown(samplers)[1]


def test_completions_are_drawn_with_the_posterior_variance():
    inpainting = PANELS["show_inpainting"]()
    masks = list(halves(SHAPE).values())
    batch, mask = IMAGES[0].expand(20, *SHAPE), torch.stack(masks).repeat_interleave(4, 0)
    found = final_samples(
        inpaint_steps(MODEL, batch, mask, torch.Generator().manual_seed(0), n_steps=3, sigma="posterior")
    )
    expected = completions_picture(IMAGES[0], masks[0], found[:2], "the top half")
    assert shown(inpainting)[0].tobytes() == expected.image().tobytes()


def test_a_linear_mix_is_shorter_than_one_on_the_arc():
    interpolation = PANELS["show_interpolation"]()
    interpolation.controls["t"].value = 999
    sizes = {}
    for mix in ("linear", "spherical"):
        interpolation.controls["mix"].value = mix
        sizes[mix] = float(re.search(r"square of ([\d.]+)", shown(interpolation)[1]).group(1))
    assert sizes["linear"] < 0.85 * sizes["spherical"]


def test_masks_cover_half_of_the_image_each():
    masks = halves(SHAPE)
    assert all(masks[name].float().mean() == 0.5 for name in masks if name != "frame")
    assert masks["frame"].float().mean() == 0.75
    assert masks["top half"][0, :4].all()
    assert masks["left half"][0, :, :4].all()
    assert (masks["top half"] ^ masks["bottom half"]).all()
    assert not masks["frame"][0, 3:5, 3:5].any()

"""Notebook 11's panels: states of a run, the variance of a step, samplers, interpolation and inpainting."""

import re

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.lesson.ch11_sampling import panels
from ddpm_lesson.lesson.ch11_sampling.panels import halves
from ddpm_lesson.lesson.ch11_sampling.plots import completions_picture
from ddpm_lesson.sample import ddim_steps, ddpm_steps, final_samples, inpaint_steps, spaced_times
from tests.lesson.shown import shown

SHAPE = (1, 8, 8)


@pytest.fixture
def model(wavy):
    return DenoiseDiffusion(wavy)


@pytest.fixture
def images():
    return torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def steps(model, rng):
    return list(ddpm_steps(model, (3, *SHAPE), rng(1), n_steps=6))


@pytest.fixture
def states(steps):
    return panels.show_states(steps, 1000, "3 patterns")


@pytest.fixture
def variance():
    return panels.show_step_variance()


@pytest.fixture
def samplers(model):
    return panels.show_samplers(model, SHAPE, (2, 4), n_images=3)


@pytest.fixture
def interpolation(model, images):
    return panels.show_interpolation(model, tuple(images), (50, 500, 999), n_steps=3)


@pytest.fixture
def inpainting(model, images):
    return panels.show_inpainting(model, images[0], n_steps=3, n_images=2)


CONTROLS = {
    "states": {"step": 3},
    "variance": {"n_steps": 20, "std": 0.5},
    "samplers": {"sampler": "sigma² = beta", "n_steps": 4, "seed": 1},
    "interpolation": {"t": 999, "weight": 0.2, "mix": "spherical"},
    "inpainting": {"part": "frame", "resample": 3, "seed": 1},
}


@pytest.mark.parametrize(("name", "control"), [(name, control) for name in CONTROLS for control in CONTROLS[name]])
def test_every_control_changes_picture_and_words_but_not_the_size(name, control, request):
    panel = request.getfixturevalue(name)
    assert set(panel.controls) == set(CONTROLS[name])
    before, before_alt = shown(panel)
    panel.controls[control].value = CONTROLS[name][control]
    after, after_alt = shown(panel)
    assert after.size == before.size
    assert after.tobytes() != before.tobytes()
    assert after_alt != before_alt


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_are_labelled_and_a_question_stands_in_front(name, request):
    panel = request.getfixturevalue(name)
    assert all(control.description for control in panel.controls.values())
    assert panel.box.children[0].value.endswith("?</b>")


def test_first_state_has_nothing_to_compare_with_and_later_ones_tell_their_change(states, steps):
    assert "at t = 999 of 1000" in shown(states)[1]
    assert "nothing to compare with" in shown(states)[1]
    states.controls["step"].value = 4
    moved = float((steps[4].x0_hat - steps[3].x0_hat).square().mean().sqrt())
    assert f"since t = {steps[3].t} x0_hat has moved {moved:.3f}" in shown(states)[1]


def test_no_states_are_refused():
    with pytest.raises(ValueError, match="steps must hold at least one state"):
        panels.show_states([], 1000)


def test_variances_in_words_are_those_of_the_spaced_chain(variance):
    variance.controls["n_steps"].value = 50
    variance.controls["std"].value = 0.2
    schedule = NoiseSchedule.linear().spaced(spaced_times(1000, 50)[::-1])
    alt = shown(variance)[1]
    assert "at t = 39" in alt
    assert f"beta' {float(schedule.beta[1]):.2g}," in alt
    assert f"beta_tilde' {float(schedule.beta_tilde[1]):.2g}" in alt


def test_for_wide_data_beta_is_right_and_for_thin_data_it_is_too_much(variance):
    variance.controls["n_steps"].value = 10

    def ratio():
        return float(re.search(r"is ([\d.]+) times what is right", shown(variance)[1]).group(1))

    variance.controls["std"].value = 1.0
    assert ratio() == pytest.approx(1.0, abs=0.011)
    variance.controls["std"].value = 0.01
    schedule = NoiseSchedule.linear().spaced(spaced_times(1000, 10)[::-1])
    assert ratio() == pytest.approx(float((schedule.beta / schedule.beta_tilde)[1]), abs=0.011)


def test_samples_are_those_of_the_sampler(samplers, model):
    few, many = (final_samples(ddim_steps(model, (6, *SHAPE), n, generator=torch.Generator().manual_seed(0))) for n in (2, 4))
    far = float((few[:3] - many[:3]).square().mean().sqrt())
    assert f"difference {far:.2f}" in shown(samplers)[1]
    samplers.controls["n_steps"].value = 4
    assert "difference 0.00" in shown(samplers)[1]


def test_completions_are_drawn_with_the_posterior_variance(inpainting, model, images):
    masks = list(halves(SHAPE).values())
    batch, mask = images[0].expand(20, *SHAPE), torch.stack(masks).repeat_interleave(4, 0)
    found = final_samples(inpaint_steps(model, batch, mask, torch.Generator().manual_seed(0), n_steps=3, sigma="posterior"))
    expected = completions_picture(images[0], masks[0], found[:2], "the top half")
    assert shown(inpainting)[0].tobytes() == expected.image().tobytes()


def test_a_linear_mix_is_shorter_than_one_on_the_arc(interpolation):
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

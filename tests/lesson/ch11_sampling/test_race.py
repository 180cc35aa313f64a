"""The race: every sampler, every number of steps, one start."""

import pytest
import torch
from torch import nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch11_sampling.race import SAMPLERS, noise_on_the_way, race
from ddpm_lesson.lesson.kit.mixture import ExactNoise, GaussianMixture
from ddpm_lesson.sample import ddim_steps, ddpm_steps, final_samples
from ddpm_lesson.schedule import NoiseSchedule

DATA = GaussianMixture([1, 2], [-0.5, 0.6], [0.2, 0.1])
SCHEDULE = NoiseSchedule.linear(100, 1e-3, 0.15)
MODEL = DenoiseDiffusion(ExactNoise(DATA, SCHEDULE), schedule=SCHEDULE, clip_x0=False)


def test_laps_are_those_of_the_samplers():
    laps = list(race(MODEL, lambda x: float(x.mean()), (50, 1), (2, 4), seed=3))
    assert [(lap.sampler, lap.n_steps) for lap in laps] == [(name, n) for name in SAMPLERS for n in (2, 4)]
    samples = final_samples(ddim_steps(MODEL, (50, 1), 4, generator=torch.Generator().manual_seed(3)))
    assert laps[-1].distance == float(samples.mean())


def test_only_the_samplers_asked_for_run():
    assert {lap.sampler for lap in race(MODEL, len, (5, 1), (2,), samplers=["ddim"])} == {"ddim"}


def test_with_the_exact_noise_every_sampler_comes_closer_with_more_steps():
    few, many = ({lap.sampler: lap.distance for lap in race(MODEL, DATA.distance, (5000, 1), (n,))} for n in (5, 50))
    assert all(many[name] < 0.5 * few[name] for name in SAMPLERS)


class PointEps(nn.Module):
    """The exact noise when all data are 0."""

    def forward(self, xt, t):
        return xt / SCHEDULE.one_minus_alpha_bar[t].sqrt().view(-1, 1)


@pytest.mark.parametrize(("n_steps", "sigma"), [(5, "beta"), (20, "beta"), (100, "beta"), (5, "posterior")])
def test_noise_on_the_way_is_that_of_samples(rng, n_steps, sigma):
    model = DenoiseDiffusion(PointEps(), schedule=SCHEDULE, clip_x0=False)
    steps = list(ddpm_steps(model, (20_000, 1), rng(1), n_steps=n_steps, sigma=sigma))
    times = [step.t for step in steps][::-1]
    ratio = noise_on_the_way(SCHEDULE.spaced(times), sigma)
    for i, step in enumerate(steps[::-1]):
        expected = float(ratio[i]) * float(SCHEDULE.one_minus_alpha_bar[step.t].sqrt())
        if i < n_steps - 1:  # the start is pure noise, whatever is left of the data in theory
            assert float(step.xt.std()) == pytest.approx(expected, rel=0.025)


def test_with_the_posterior_variance_the_noise_is_right_all_the_way():
    ratio = noise_on_the_way(NoiseSchedule.linear().spaced(range(9, 1000, 10)), "posterior")
    torch.testing.assert_close(ratio, torch.ones_like(ratio))

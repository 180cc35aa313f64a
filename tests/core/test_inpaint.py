"""Filling in what is hidden: the known part stays, the hidden part follows from it."""

import pytest
import torch
from torch import nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample import ddpm_steps, final_samples, inpaint_step, inpaint_steps
from ddpm_lesson.schedule import NoiseSchedule

T = 50
SHAPE = (3, 1, 4, 4)
SCHEDULE = NoiseSchedule.linear(T, 1e-3, 0.2)
TOP = torch.tensor([True, True, False, False]).view(1, 1, 4, 1)


@pytest.fixture
def model(wavy):
    return DenoiseDiffusion(wavy, schedule=SCHEDULE)


@pytest.fixture
def known():
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.mark.parametrize("resample", [1, 3])
def test_known_part_is_in_every_estimate_as_it_is(model, known, resample):
    for step in inpaint_steps(model, known, TOP, n_steps=5, resample=resample):
        assert step.x0_hat[:, :, :2].equal(known[:, :, :2])
        assert not step.x0_hat[:, :, 2:].equal(known[:, :, 2:])


def test_with_everything_known_nothing_is_left_to_draw(model, known):
    assert final_samples(inpaint_steps(model, known, torch.ones(1), n_steps=5)).equal(known)


def test_with_nothing_known_it_is_plain_sampling(model, known, rng):
    *_, plain = ddpm_steps(model, SHAPE, rng(1), n_steps=1)
    assert final_samples(inpaint_steps(model, known, torch.zeros(1), rng(1), n_steps=1)).equal(plain.x0_hat)


def test_what_is_hidden_does_not_matter(model, known, rng):
    other = known.clone()
    other[:, :, 2:] = torch.nan
    one, two = (final_samples(inpaint_steps(model, x, TOP, rng(1), n_steps=10)) for x in (known, other))
    assert one.equal(two)


def test_completions_differ_by_seed_and_not_without(model, known, rng):
    draws = [final_samples(inpaint_steps(model, known, TOP, rng(seed), n_steps=10)) for seed in (1, 1, 2)]
    assert draws[0].equal(draws[1])
    assert not draws[0][:, :, 2:].equal(draws[2][:, :, 2:])


def test_times_fall_and_each_but_the_last_is_taken_as_often_as_asked(model, known):
    times = [step.t for step in inpaint_steps(model, known, TOP, n_steps=5, resample=2)]
    assert times == [49, 49, 39, 39, 29, 29, 19, 19, 9]


def test_known_part_of_every_state_has_the_noise_of_its_time(zero, rng):
    model, known = DenoiseDiffusion(zero, schedule=SCHEDULE), torch.full((4000, 1, 1, 2), 0.5)
    mask = torch.tensor([True, False])
    for step in list(inpaint_steps(model, known, mask, rng(1), n_steps=10, resample=2))[2:]:
        alpha_bar = float(SCHEDULE.alpha_bar[step.t])
        values = step.xt[..., 0]
        assert float(values.mean()) == pytest.approx(alpha_bar**0.5 * 0.5, abs=5 * ((1 - alpha_bar) / 4000) ** 0.5)
        assert float(values.var()) == pytest.approx(1 - alpha_bar, rel=5 * (2 / 4000) ** 0.5)


def test_last_step_puts_the_known_part_in_without_noise(model, known, rng):
    xt, t = torch.randn(SHAPE), torch.zeros(3, dtype=torch.long)
    x_prev = inpaint_step(model, known, TOP.expand(SHAPE), xt, t, model.denoise(xt, t), rng())
    assert x_prev[:, :, :2].equal(known[:, :, :2])
    torch.testing.assert_close(x_prev[:, :, 2:], model.denoise(xt, t)[:, :, 2:])


# Two values that belong together, whose exact noise predictor is known

RHO = 0.9


class CorrelatedEps(nn.Module):
    """E[eps | x_t] for pairs (x, y), normal with variances 1 and correlation RHO."""

    def forward(self, xt, t):
        alpha_bar = SCHEDULE.alpha_bar[t].view(-1, 1, 1)
        cov = torch.tensor([[1.0, RHO], [RHO, 1.0]])
        cov_xt = alpha_bar * cov + (1 - alpha_bar) * torch.eye(2)
        return (1 - alpha_bar[:, 0]).sqrt() * torch.linalg.solve(cov_xt, xt[..., None])[..., 0]


@pytest.fixture(scope="module")
def errors():
    """How far the mean and the spread of y given x = 1 are from what they should be, for two numbers of rounds."""
    model = DenoiseDiffusion(CorrelatedEps(), schedule=SCHEDULE, clip_x0=False, sigma="posterior")
    known, mask = torch.ones(4000, 2), torch.tensor([True, False])
    result = {}
    for resample in (1, 8):
        generator = torch.Generator().manual_seed(0)
        y = final_samples(inpaint_steps(model, known, mask, generator, resample=resample))[:, 1]
        result[resample] = abs(float(y.mean()) - RHO)
    return result


def test_hidden_part_follows_the_known_one(errors):
    assert errors[1] < 0.4  # unconditional draws would have mean 0, an error of 0.9


def test_resampling_brings_the_hidden_part_closer_to_what_fits(errors):
    assert errors[8] < 0.5 * errors[1]


# Bad input


@pytest.mark.parametrize("resample", [0, 1.5, True])
def test_wrong_resample_is_refused(model, known, resample):
    with pytest.raises(ValueError, match=f"resample must be a whole number of at least 1; got {resample!r}"):
        inpaint_steps(model, known, TOP, resample=resample)


def test_mask_of_shares_is_refused(model, known):
    with pytest.raises(ValueError, match="mask must hold only True and False"):
        inpaint_steps(model, known, TOP * 0.5)


def test_mask_that_does_not_fit_is_refused(model, known):
    with pytest.raises(ValueError, match=r"mask must broadcast to the images, \(3, 1, 4, 4\); got \(1, 1, 5, 1\)"):
        inpaint_steps(model, known, torch.ones(1, 1, 5, 1))

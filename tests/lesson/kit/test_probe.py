"""Noise to judge by is never noise to draw from: in the kit, in the chapters that judge samples, in their panels."""

import pytest
import torch

from ddpm_lesson import checkpoint
from ddpm_lesson.lesson.ch08_down_up_middle.experiments import guess_without
from ddpm_lesson.lesson.ch08_down_up_middle.panels import show_without_skips
from ddpm_lesson.lesson.ch09_unet.experiments import route_losses
from ddpm_lesson.lesson.ch09_unet.panels import show_levels
from ddpm_lesson.lesson.kit.probe import fresh_noise, image_losses
from ddpm_lesson.sample import sample
from tests.lesson.noises import beginnings, watched

SHAPE, SEEDS = (3, 1, 8, 8), range(3)
JUDGES = {
    "guess_without": lambda diffusion, x0, seed: guess_without(diffusion, x0, 300, seed=seed, n_noises=2),
    "route_losses": lambda diffusion, x0, seed: route_losses(diffusion, x0, (300,), seed=seed),
    "one noise": lambda diffusion, x0, seed: route_losses(diffusion, x0, (300,), seed=seed, same_noise=True),
    "show_without_skips": lambda diffusion, x0, _: show_without_skips(diffusion, x0),
    "show_levels": lambda diffusion, x0, _: show_levels(diffusion, x0),
}


@pytest.fixture(scope="module")
def model():
    return checkpoint.load("digits", device="cpu")


def drawn(model, seed):
    return sample(model, SHAPE, 3, torch.Generator().manual_seed(seed)).clamp(-1, 1)


@pytest.mark.parametrize("judge", JUDGES)
def test_samples_are_judged_by_other_noise_than_they_were_drawn_from(model, judge):
    with watched() as watch:
        for seed in SEEDS:
            x0 = drawn(model, seed)
            for other in SEEDS:
                JUDGES[judge](model, x0, other)
    assert len(watch.drawn) >= len(SEEDS)
    assert watch.judged
    assert not watch.leaks


@pytest.mark.parametrize("shape", [SHAPE, (5, 1, 8, 8), (2, 1, 16, 16)])
def test_the_watch_finds_noise_that_served_twice(model, shape):
    with watched() as watch:
        x0 = sample(model, shape, 3, torch.Generator().manual_seed(0))
        eps = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        model.q_sample(x0.clamp(-1, 1), torch.full((len(eps),), 300), eps)
    assert set(beginnings(eps)) == watch.leaks


def test_noise_that_served_twice_makes_the_loss_too_small(model):
    x0 = sample(model, (64, 1, 8, 8), 20, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    again, t = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)), torch.full((64,), 500)
    seen, fresh = (image_losses(model, x0, eps, t).mean() for eps in (again, fresh_noise(x0)))
    assert seen < 0.7 * fresh


def test_fresh_noise_is_standard_normal_and_seeded(rng):
    like = torch.zeros(50, 1, 28, 28, dtype=torch.float64)
    one, same, other = (fresh_noise(like, seed) for seed in (0, 0, 1))
    assert one.equal(same)
    assert one.dtype == like.dtype
    assert abs(one.mean()) < 5 / one.numel() ** 0.5
    assert abs(one.var() - 1) < 5 * (2 / one.numel()) ** 0.5
    assert abs((one * other).mean()) < 5 / one.numel() ** 0.5
    pictures = [torch.randn(like.shape, generator=rng(seed)) for seed in range(50)]
    assert not set(beginnings(one)) & set().union(*map(beginnings, pictures))


def test_a_negative_seed_would_be_one_for_pictures_and_is_refused():
    with pytest.raises(ValueError, match=r"seed must be 0 or more; got -1"):
        fresh_noise(torch.zeros(1), -1)

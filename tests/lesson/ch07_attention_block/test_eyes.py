"""Two far eyes of one colour: the data, the best guesses, and networks that can or cannot compare them."""

import math

import pytest
import torch

from ddpm_lesson.lesson.ch07_attention_block.eyes import (
    EyeDenoiser,
    best_error,
    best_guess,
    draw_eyes,
    eye_error,
    eye_masks,
    eye_schedule,
    eyes,
    matching,
    noisy_eyes,
    patterns,
    train_eyes,
)
from ddpm_lesson.lesson.kit.influence import influence


@pytest.fixture
def schedule():
    return eye_schedule()


def test_both_eyes_of_a_picture_have_one_colour_blue_in_half_of_them():
    images = eyes(400, torch.Generator().manual_seed(0))
    assert matching(images) == 1
    assert 0.42 < (images[:, 2].amax((1, 2)) > 0).float().mean() < 0.58
    assert images.abs().max() <= 1


def test_eyes_that_are_drawn_apart_match_by_chance():
    left, right = (eyes(400, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert 0.4 < matching(left * eye_masks()[0] + right * eye_masks()[1]) < 0.6


@pytest.mark.parametrize("has_attn", [False, True])
def test_only_attention_lets_one_eye_see_the_other(schedule, has_attn):
    torch.manual_seed(0)
    model = EyeDenoiser(schedule, has_attn=has_attn)
    _, xt, t = noisy_eyes(schedule, 1, torch.Generator().manual_seed(0))
    seen = influence(model.guess(xt.requires_grad_(), t), xt, (1, 1))
    own, other = (seen[mask.bool()] for mask in eye_masks())
    assert (own > 0).all()
    assert bool((other > 0).all()) is has_attn
    assert bool((other == 0).all()) is not has_attn


def test_best_guess_is_that_of_bayes(schedule):
    _, xt, t = noisy_eyes(schedule, 50, torch.Generator().manual_seed(0))
    alpha_bar = schedule.alpha_bar[t][:, None]
    blue = patterns().sum(0)
    candidates = torch.stack([blue, -blue])  # the two pictures there are
    distance = (xt[:, None] - alpha_bar.sqrt()[:, :, None, None, None] * candidates).square().sum((2, 3, 4))
    weight = (-distance / (2 * (1 - alpha_bar))).softmax(1)
    torch.testing.assert_close(
        best_guess(xt, alpha_bar, sees_both=True),
        torch.einsum("bn,nchw->bchw", weight, candidates),
        atol=1e-4,
        rtol=1e-4,
    )


def test_best_guess_for_one_eye_takes_nothing_from_the_other(schedule):
    _, xt, _ = noisy_eyes(schedule, 1, torch.Generator().manual_seed(0))
    seen = influence(best_guess(xt.requires_grad_(), torch.tensor([[0.1]]), sees_both=False), xt, (1, 1))
    assert (seen[eye_masks()[1].bool()] == 0).all()
    assert (seen[eye_masks()[0].bool()] > 0).all()


def test_two_eyes_know_more_than_one(schedule):
    assert best_error(schedule, sees_both=True) < 0.9 * best_error(schedule, sees_both=False)


def test_guess_and_noise_are_the_same_knowledge(schedule):
    model = EyeDenoiser(schedule, has_attn=True)
    _, xt, t = noisy_eyes(schedule, 3, torch.Generator().manual_seed(0))
    alpha_bar = schedule.alpha_bar[t].view(-1, 1, 1, 1)
    mixed = alpha_bar.sqrt() * model.guess(xt, t) + (1 - alpha_bar).sqrt() * model(xt, t)
    torch.testing.assert_close(mixed, xt, atol=1e-5, rtol=1e-4)


def test_training_is_repeatable_and_helps(schedule):
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append(list(train_eyes(EyeDenoiser(schedule, has_attn=False), 40)))
    assert losses[0] == losses[1]
    grey = float(eyes(100).square().mean())  # the loss of who always answers grey
    assert sum(losses[0][-10:]) / 10 < 0.9 * grey


def test_with_attention_the_guess_is_better_than_any_of_one_eye_and_the_eyes_match(schedule):
    torch.manual_seed(0)
    model = EyeDenoiser(schedule, has_attn=True)
    assert all(map(math.isfinite, train_eyes(model)))
    assert best_error(schedule, sees_both=True) < eye_error(model) < best_error(schedule, sees_both=False)
    assert matching(draw_eyes(model, 100)) > 0.9

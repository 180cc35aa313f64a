"""Notebook 04's panels: the weights of the loss, guesses of images, and a learned noise beside the exact one."""

import re

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.bound import loss_weights
from ddpm_lesson.lesson.ch04_noise_prediction import panels
from ddpm_lesson.lesson.kit.mixture import ExactNoise, GaussianMixture
from tests.lesson.networks import Listening
from tests.lesson.shown import shown

DATA = GaussianMixture([1, 2], [-0.5, 0.6], [0.2, 0.1])


@pytest.fixture
def network():
    return Listening()


@pytest.fixture
def guesses(network):
    return x0_guess(network)


@pytest.fixture
def curves():
    return learned_noise()


def x0_guess(network):
    x0 = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return panels.show_x0_guess(DenoiseDiffusion(network, 100), x0)


def learned_noise():
    schedule = NoiseSchedule.linear(20, 0.01, 0.5)
    return panels.show_learned_noise(DenoiseDiffusion(Listening(), schedule=schedule, clip_x0=False), DATA, (2, 5, 10))


PANELS = {
    "show_loss_weights": panels.show_loss_weights,
    "show_x0_guess": lambda: x0_guess(Listening()),
    "show_learned_noise": learned_noise,
}


def test_weights_in_words_are_those_of_the_bound():
    panel = panels.show_loss_weights()
    panel.controls["t"].value = 10
    weights = loss_weights(NoiseSchedule.linear())[1:]
    share = float(weights[:10].sum() / weights.sum())
    _, alt = shown(panel)
    assert f"at t = 10 they are {float(weights[9]):.2g} and 1" in alt
    assert f"t = 1 .. 10 hold {share:.1%} of the weight in the bound, 1.0% in L_simple" in alt


def test_weights_of_x0_errors_are_the_ratio_of_signal_to_noise():
    panel = panels.show_loss_weights()
    panel.controls["unit"].value = "x0"
    snr = NoiseSchedule.linear().snr
    assert f"and {float(snr[50]):.2g}; t = 1" in shown(panel)[1]


@pytest.mark.parametrize("sigma", ["beta", "posterior"])
def test_on_the_cosine_schedule_the_last_step_has_nearly_all_the_weight(sigma):
    panel = panels.show_loss_weights()
    panel.controls["kind"].value = "cosine"
    panel.controls["sigma"].value = sigma
    panel.controls["t"].value = 998
    weights = loss_weights(NoiseSchedule.from_settings({"kind": "cosine", "n_steps": 1000}).to(torch.float64), sigma)
    share = float(weights[1:999].sum() / weights[1:].sum())
    assert share < 0.03
    assert f"t = 1 .. 998 hold {share:.1%} of the weight in the bound, 99.9% in L_simple" in shown(panel)[1]


def test_a_t_beyond_T_is_taken_for_the_last_one_and_said_so():
    panel = panels.show_loss_weights()
    panel.controls["T"].value = 20
    _, alt = shown(panel)
    assert alt.startswith("t must be at most T - 1 = 19; got 50. Shown instead: t = 19. Weights of the squared error")
    assert "t = 1 .. 19 hold 100.0% of the weight in the bound, 100.0% in L_simple" in alt
    panel.controls["t"].value = 5
    assert shown(panel)[1].startswith("Weights of the squared error")


def test_guess_is_asked_for_once_a_time_and_seed(guesses, network):
    asked = len(network.asked)
    guesses.controls["t"].value = 40
    guesses.controls["clip"].value = "no"
    guesses.controls["t"].value = 25
    guesses.controls["t"].value = 40
    assert len(network.asked) == asked + 1


def test_error_in_words_is_that_of_the_guess(guesses):
    guesses.controls["clip"].value = "no"
    guesses.controls["t"].value = 99
    _, alt = shown(guesses)
    assert "5 images" in alt
    assert "t = 99 of 100, noise 0, not clipped" in alt
    x0 = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    alpha_bar = NoiseSchedule.linear(100).alpha_bar[99]
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    xt = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
    x0_hat = (xt - (1 - alpha_bar).sqrt() * 0.5 * xt) / alpha_bar.sqrt()
    assert f"RMSE of all {float((x0_hat - x0).square().mean().sqrt()):.3f}" in alt


def test_guesses_leave_the_network_in_its_mode(guesses, network):
    assert network.training


def test_a_perfect_network_shows_no_error():
    schedule = NoiseSchedule.linear(20, 0.01, 0.5)
    panel = panels.show_learned_noise(DenoiseDiffusion(ExactNoise(DATA, schedule), schedule=schedule), DATA, (2, 5))
    assert "t = 2: root mean square error 0.000" in shown(panel)[1]


def test_static_picture_shows_every_time_that_was_asked_for(curves):
    assert re.findall(r"t = (\d+)", curves.static.alt) == ["2", "5", "10"]
    assert curves.static.width == curves.picture.width


def test_error_of_the_learned_noise_is_weighted_by_how_likely_xt_is(curves):
    curves.controls["t"].value = 15
    alpha_bar = float(NoiseSchedule.linear(20, 0.01, 0.5).alpha_bar[15])
    x0 = DATA.sample(400_000, torch.Generator().manual_seed(0))
    xt = alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * torch.randn(400_000, generator=torch.Generator().manual_seed(1))
    error = float((0.5 * xt - DATA.exact_eps(xt, alpha_bar)).square().mean().sqrt())
    shown_error = float(re.search(r"error ([\d.]+)", shown(curves)[1]).group(1))
    assert abs(shown_error - error) < 0.01

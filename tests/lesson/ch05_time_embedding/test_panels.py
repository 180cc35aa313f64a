"""Notebook 05's panels: clock hands, and a network that is told a wrong time."""

import math
import re

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.lesson.ch05_time_embedding import panels
from tests.lesson.networks import Listening
from tests.lesson.shown import shown


def believer():
    """A network that calls a share of x_t noise which grows with the time it is told."""
    return Listening(lambda t: (t + 1) / 100)


@pytest.fixture
def network():
    return believer()


@pytest.fixture
def told(network):
    return told_time(network)


def told_time(network):
    x0 = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return panels.show_told_time(DenoiseDiffusion(network, 100), x0)


PANELS = {"show_clocks": panels.show_clocks, "show_told_time": lambda: told_time(believer())}


@pytest.fixture
def clocks():
    return panels.show_clocks()


@pytest.mark.parametrize("n", [8, 32, 128])
def test_hands_in_words_point_where_the_formula_says(clocks, n):
    clocks.controls["t"].value = 777
    clocks.controls["n"].value = n
    hands = re.findall(r"hand (\d+) at (\d+)", shown(clocks)[1])
    assert len(hands) == min(n // 2, 8)
    assert {int(hands[0][0]), int(hands[-1][0])} == {0, n // 2 - 1}
    for i, degrees in hands:
        angle = math.degrees(777 * 10_000 ** (-int(i) / (n // 2 - 1))) % 360
        assert abs((int(degrees) - angle + 180) % 360 - 180) < 0.6


@pytest.mark.parametrize("t", [0, 400, 999])
def test_similarity_in_words_is_the_mean_of_cosines(clocks, t):
    clocks.controls["t"].value = t
    said = re.findall(r"(10*): (-?[\d.]+)", shown(clocks)[1])
    assert [k for k, _ in said] == ["1", "10", "100"]
    for k, value in said:
        cosines = [math.cos(int(k) * 10_000 ** (-i / 15)) for i in range(16)]
        assert float(value) == pytest.approx(sum(cosines) / 16, abs=0.006)


@pytest.mark.parametrize("n", [8, 32, 128])
@pytest.mark.parametrize("t", [0, 250, 999])
def test_most_similar_time_far_away_is_named(clocks, n, t):
    clocks.controls["t"].value = t
    clocks.controls["n"].value = n
    value, u = re.search(r"far away at most ([\d.]+), at u = (\d+)", shown(clocks)[1]).groups()
    frequency = [10_000 ** (-i / (n // 2 - 1)) for i in range(n // 2)]
    similar = [sum(math.cos(w * (s - t)) for w in frequency) / (n // 2) for s in range(1000)]
    assert abs(int(u) - t) > 10
    assert float(value) == pytest.approx(similar[int(u)], abs=0.006)
    assert similar[int(u)] > max(s for i, s in enumerate(similar) if abs(i - t) > 10) - 1e-3


def test_with_four_hands_a_time_far_away_looks_more_alike_than_the_neighbour(clocks):
    clocks.controls["n"].value = 8
    words = shown(clocks)[1]
    assert "|t - u| = 1: 0.88" in words
    assert re.search(r"far away at most 0.99, at u = (118|382) ", words)


def test_at_time_zero_all_hands_stand_at_noon(clocks):
    clocks.controls["t"].value = 0
    assert set(re.findall(r"hand \d+ at (\d+)", shown(clocks)[1])) == {"0"}


def test_errors_in_words_are_those_of_the_network(told):
    told.controls["t"].value = 60
    told.controls["told"].value = 20
    x0 = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    alpha_bar = NoiseSchedule.linear(100).alpha_bar[60]
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    xt = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
    right, wrong = (float((share * xt - eps).square().mean()) for share in (0.61, 0.21))
    assert f"error of eps: {right:.3f} told the truth, {wrong:.3f} told t = 20" in shown(told)[1]


def test_network_is_told_the_truth_for_one_row_and_the_other_time_for_the_other(told, network):
    network.asked.clear()
    told.controls["told"].value = 77
    assert network.asked == [77]  # the truth is known already
    told.controls["told"].value = 24  # the true time
    assert network.asked == [77]
    assert "told 24 and 24" in shown(told)[1]


def test_words_name_the_noise_even_where_the_errors_are_the_same(told):
    told.controls["seed"].value = 6
    assert "noised to t = 24 with noise 6, and the guesses" in shown(told)[1]


def test_network_keeps_its_mode(told, network):
    assert network.training

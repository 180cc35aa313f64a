"""The explorers of schedules and of x_t."""

import numpy as np
import pytest
import torch

from ddpm_lesson import NoiseSchedule
from ddpm_lesson.bound import prior_bits
from ddpm_lesson.lesson.ch03_forward_noising.panels import show_schedule, show_xt
from tests.lesson.shown import shown

PANELS = {
    "show_schedule": lambda: show_schedule(torch.full((1, 8, 8), 0.5)),
    "show_xt": lambda: show_xt(torch.linspace(-1, 1, 8 * 64).view(8, 1, 8, 8)),
}


@pytest.fixture
def schedule_panel():
    return PANELS["show_schedule"]()


@pytest.fixture
def xt_panel(monkeypatch, tmp_path):
    monkeypatch.setenv("DDPM_DATA", str(tmp_path))  # where there is no data set
    return PANELS["show_xt"]()


def test_schedule_panel_states_the_numbers_of_the_schedule(schedule_panel):
    schedule_panel.controls["T"].value = 100
    schedule = NoiseSchedule.linear(100)
    bits = float(prior_bits(schedule, torch.full((1, 1, 8, 8), 0.5)))
    _, alt = shown(schedule_panel)
    assert "linear, T = 100" in alt
    assert f"L_T = {bits:.2g} bits/dim" in alt
    assert f"alpha_bar ends at {float(schedule.alpha_bar[-1]):.1e}" in alt


def test_end_below_start_is_explained_and_something_near_is_shown(schedule_panel):
    schedule_panel.controls["beta_start"].value = 0.1
    _, alt = shown(schedule_panel)
    assert alt.startswith("beta_end must not be below beta_start; got 2.0e-02 below 1.0e-01. Shown instead: beta_end")
    assert "beta 1.0e-01 to 1.0e-01" in alt
    schedule_panel.controls["T"].value = 20
    assert "T = 20" in shown(schedule_panel)[1]


def test_single_step_is_explained_and_two_are_shown(schedule_panel):
    schedule_panel.controls["T"].value = 1
    _, alt = shown(schedule_panel)
    assert alt.startswith("T must be at least 2")
    assert "Shown instead: T = 2. Schedule linear, T = 2" in alt


def test_noise_stays_while_t_moves(xt_panel):
    pictures = []
    for t in (100, 700):
        xt_panel.controls["t"].value = t
        pictures.append(np.array(shown(xt_panel)[0]))
    middle = slice(pictures[0].shape[1] // 4 + 20, pictures[0].shape[1] // 2 - 20)  # the second of four pictures: eps
    assert np.array_equal(pictures[0][:, middle], pictures[1][:, middle])


def test_data_set_that_is_not_there_is_explained_and_another_is_shown(xt_panel):
    xt_panel.controls["name"].value = "mnist"
    _, alt = shown(xt_panel)
    assert alt.startswith(
        "'mnist' is not on this machine; load_images('mnist') fetches it, once. Shown instead: drawn. drawn image 0"
    )
    xt_panel.controls["t"].value = 300
    assert "drawn image 0 with noise 0 at t = 300" in shown(xt_panel)[1]


def test_words_state_the_two_factors(xt_panel):
    xt_panel.controls["t"].value = 500
    alpha_bar = float(NoiseSchedule.linear().alpha_bar[500])
    assert f"x_t = {alpha_bar**0.5:.3f} x_0 + {(1 - alpha_bar) ** 0.5:.3f} eps" in shown(xt_panel)[1]

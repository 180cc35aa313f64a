"""Static pictures of notebook 03: the words beside them are true, and x_0 stands in front."""

import numpy as np
import torch

from ddpm_lesson import NoiseSchedule
from ddpm_lesson.lesson.ch03_forward_noising.plots import even, noise_strip, schedules_picture
from tests.lesson.shown import drawn


def test_there_is_more_noise_than_signal_from_there_on():
    schedule = NoiseSchedule.linear()
    t = even(schedule)
    assert schedule.snr[t] < 1 < schedule.snr[t - 1]


def test_each_schedule_is_told_with_where_it_crosses_and_ends():
    schedules = {"one": NoiseSchedule.linear(), "other": NoiseSchedule.cosine(1000)}
    shown = schedules_picture(schedules)
    drawn(shown)
    for name, schedule in schedules.items():
        end = float(schedule.snr_db[-1])
        assert f"{name} is below 0 dB from t = {even(schedule)} and ends at {end:.0f} dB" in shown.alt


def test_strip_begins_with_the_image():
    black, white = -torch.ones(1, 8, 8), torch.ones(1, 8, 8)
    shown = noise_strip({"row": torch.stack((black, white, white))}, [5, 9])
    assert "at x_0, t = 5, t = 9; a row each for row" in shown.alt
    pixels = np.asarray(drawn(shown).convert("L"))
    row = pixels[pixels.shape[0] // 2]
    assert (row[: len(row) // 2] == 0).sum() >= 128
    assert not (row[len(row) // 2 :] == 0).any()

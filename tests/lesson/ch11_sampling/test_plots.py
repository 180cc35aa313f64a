"""Static pictures of notebook 11: the words beside them are true."""

import torch

from ddpm_lesson.lesson.ch11_sampling.plots import (
    ClipRun,
    Race,
    clip_picture,
    completions_picture,
    excess_picture,
    paths_of_steps_picture,
    race_picture,
    rows_picture,
    step_picture,
)
from ddpm_lesson.lesson.ch11_sampling.race import Lap
from ddpm_lesson.sample import ReverseStep
from tests.lesson.shown import drawn


def state(t, value):
    return ReverseStep(t, torch.full((2, 1), value), torch.full((2, 1), value / 2))


def test_clip_run_counts_what_lies_outside():
    steps = [ReverseStep(9, torch.zeros(4), torch.tensor([0.5, -3.0, 1.5, 1.0])), ReverseStep(0, *torch.zeros(2, 4))]
    run = ClipRun.of(steps)
    assert run == ClipRun([9, 0], [3.0, 0.0], [0.5, 0.0])
    shown = clip_picture(run)
    drawn(shown)
    assert "3.0 at t = 9 and 0.00 at t = 0" in shown.alt
    assert "50% of the values at first and 0% at the end" in shown.alt


def test_every_lap_is_told_in_words():
    laps = [Lap(name, n, n / 7) for name in ("beta", "posterior", "ddim") for n in (10, 20)]
    shown = race_picture([Race("one", "distance", laps, floor=0.5), Race("two", "FID", laps)])
    drawn(shown)
    assert "one, distance by steps: sigma² = beta 1.43 with 10, 2.86 with 20; sigma² = beta_tilde 1.43" in shown.alt
    assert "two, FID by steps" in shown.alt


def test_a_race_shows_the_laps_there_are_and_its_floor():
    shown = race_picture([Race("one", "distance", [Lap("ddim", 10, 3.0)], floor=0.5, floor_name="data")])
    drawn(shown)
    assert shown.alt == "one, distance by steps: DDIM, eta = 0 3 with 10; data 0.5."


def test_paths_end_with_the_estimate():
    shown = paths_of_steps_picture({"few": [state(9, 1.0), state(0, 0.5)], "more": [state(9, 1.0)]})
    drawn(shown)
    assert "few: ends at 0.25, 0.25; more: ends at 0.50, 0.50" in shown.alt


def test_excess_is_told_where_it_is_largest():
    shown = excess_picture({10: ([99, 199], torch.tensor([1.7, 1.2]))})
    drawn(shown)
    assert "10 steps 1.70 at t = 99" in shown.alt


def test_rows_have_a_place_for_every_image():
    x = torch.zeros(3, 1, 8, 8)
    two, three = (rows_picture({"a": x[:n], "b": x[:n]}, "zeros", side=50) for n in (2, 3))
    assert three.width - two.width == 58
    assert drawn(two).height == two.height


def test_signed_noise_is_coloured_and_images_are_not():
    x = torch.randn(2, 1, 8, 8)
    shown = step_picture({"x_t": x}, "noise as an image"), step_picture({"eps": x}, "noise in colours")
    grey, colour = (drawn(picture) for picture in shown)
    assert all(r == g == b for _, (r, g, b) in grey.crop((80, 0, *grey.size)).getcolors(1 << 24))
    assert any(r != b for _, (r, g, b) in colour.crop((80, 0, *colour.size)).getcolors(1 << 24))


def test_hidden_part_is_not_shown():
    known, mask = torch.rand(1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool)
    other = torch.rand(1, 8, 8)
    assert known.ne(other).any()
    seen = [drawn(completions_picture(x, mask, torch.zeros(1, 1, 8, 8), "hidden")) for x in (known, other)]
    boxes = [image.crop((116, 34, 216, 134)).tobytes() for image in seen]
    assert boxes[0] == boxes[1]

"""Pictures of training say in words what they show."""

import torch

from ddpm_lesson.lesson.ch10_training.plots import STRIP, curve_picture, looks_strip


def test_curve_tells_its_mean_and_what_happened_on_the_way():
    losses = [1.0] * 10 + [0.5] * 10
    shown = curve_picture(range(1, 21), losses, "a run", window=2, marks={11: "rate falls"})
    assert shown.alt.startswith("Loss of a run: its mean over 5 points falls from 1.0000 to 0.5000")
    assert shown.alt.endswith("from step 11 on: rate falls")
    assert curve_picture(range(1, 21), losses, "a run").alt == "Loss of a run: 1.00 at step 1 and 0.500 at step 20"


def test_strip_keeps_the_first_step_and_the_last_ones():
    steps = [1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 20000]
    looks = [torch.zeros(4, 1, 4, 4)] * len(steps)
    shown = looks_strip(steps, looks, torch.zeros(4, 1, 4, 4), looks, "on noise")
    assert f"after steps {', '.join(map(str, steps[:1] + steps[1 - STRIP :]))}:" in shown.alt
    few = looks_strip(steps[:3], looks[:3], torch.zeros(4, 1, 4, 4), looks[:3], "on noise")
    assert "after steps 1, 3, 10:" in few.alt

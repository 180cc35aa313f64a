"""Notebook 15's panels: solvers along a known path, and guidance."""

import re

import pytest

from ddpm_lesson.lesson.ch15_beyond_ddpm import experiments as ex
from ddpm_lesson.lesson.ch15_beyond_ddpm import panels
from tests.lesson.shown import shown

PANELS = {
    "show_solvers": lambda: panels.show_solvers((2, 3, 5)),
    "show_guidance": lambda: panels.show_guidance((0, 1, 3)),
}


def test_evaluations_are_those_of_the_solver():
    panel = PANELS["show_solvers"]()
    found = {}
    for name in ex.SOLVERS:
        panel.controls["solver"].value = name
        found[name] = int(re.search(r"5 steps, (\d+) evaluations", shown(panel)[1])[1])
    assert found == {"DDIM (Euler)": 5, "Heun": 9, "DPM-Solver++(2M)": 5}


def test_more_steps_end_nearer():
    panel, ends = PANELS["show_solvers"](), []
    for n in (2, 5):
        panel.controls["n_steps"].value = n
        ends.append(float(re.search(r"ends ([\d.]+) from", shown(panel)[1])[1]))
    assert ends[1] < ends[0]


def test_scale_one_is_the_class_and_both_conventions_are_said():
    panel = PANELS["show_guidance"]()
    panel.controls["scale"].value = 1
    alt = shown(panel)[1]
    assert "scale 1 (the paper's w = 0)" in alt
    mean, std = map(float, re.search(r"samples ([\d.]+) ± ([\d.]+)", alt).groups())
    assert mean == pytest.approx(0.6, abs=0.02)
    assert std == pytest.approx(0.5, abs=0.03)

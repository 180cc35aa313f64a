"""Notebook 13's panel: drawings by evaluations and new noise."""

from ddpm_lesson.lesson.ch13_your_own_ddpm import panels
from ddpm_lesson.lesson.ch13_your_own_ddpm.board import Board
from ddpm_lesson.lesson.ch13_your_own_ddpm.experiments import OwnDdpm
from tests.lesson.ch13_your_own_ddpm.test_board import TINY
from tests.lesson.shown import shown


def untrained():
    return OwnDdpm(Board(), (1, 8, 8), TINY._replace(n_steps=60))


PANELS = {"show_own_drawings": lambda: panels.show_own_drawings(untrained(), 3)}


def test_words_say_evaluations_and_noise():
    panel = PANELS["show_own_drawings"]()
    assert "in 10 evaluations" in shown(panel)[1]
    panel.controls["noise"].index = 1
    assert "new noise after every step" in shown(panel)[1]

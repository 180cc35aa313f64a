"""Notebook 14's panel: the symptom comes before the cause."""

import numpy as np
import pytest

from ddpm_lesson.lesson.ch14_bug_museum import panels
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, named
from ddpm_lesson.lesson.ch14_bug_museum.plots import draw_card
from ddpm_lesson.lesson.ch14_bug_museum.symptoms import SIDE, scene
from ddpm_lesson.runtime import assets_folder
from tests.lesson.shown import shown

PANELS = {"show_exhibits": panels.show_exhibits}


def test_the_cause_is_told_last():
    panel = panels.show_exhibits()
    panel.controls["number"].value = number = 11
    exhibit = EXHIBITS[number - 1]
    words = []
    for stage in ("symptom", "probes", "cause and cure"):
        panel.controls["stage"].value = stage
        words.append(shown(panel)[1])
    assert all(exhibit.symptom in text for text in words)
    assert [exhibit.seen_by[0] in text for text in words] == [False, True, True]
    assert [exhibit.cause in text for text in words] == [False, False, True]


@pytest.mark.parametrize("name", ["the product of beta", "a time beyond the end"])
def test_why_there_are_no_samples_stands_beside_the_healthy_ones_not_over_them(name):
    exhibit = named(name)
    stops = scene(exhibit).error
    assert stops.startswith("stops with ")
    assert str(assets_folder()) not in stops

    card, other = draw_card(EXHIBITS.index(exhibit) + 1, "symptom"), draw_card(1, "symptom")
    assert [stops in each.alt for each in (card, other)] == [True, False]
    healthy = slice(28 + SIDE, 28 + 2 * SIDE)  # their row of pixels, below the other
    assert np.array_equal(np.array(card.image())[healthy], np.array(other.image())[healthy])

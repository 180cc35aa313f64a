"""Notebook 14's panel: the symptom comes before the cause."""

from ddpm_lesson.lesson.ch14_bug_museum import panels
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS
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

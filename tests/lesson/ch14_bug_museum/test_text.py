"""What notebook 14 asks and explains: exercises in order, with solutions that pass, and no word before its meaning."""

import re

import nbformat
import pytest

from ddpm_lesson.lesson.ch14_bug_museum.clinic import WARD, Clinic
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, HIDDEN, ROOMS
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import GUIDANCE
from ddpm_lesson.lesson.ch14_bug_museum.probes import PROBES
from tests.lesson.chapters import NOTEBOOKS

PATH = next(path for path in NOTEBOOKS if path.stem.startswith("14"))
CELLS = nbformat.read(PATH, as_version=4).cells
TEXT = "\n".join(cell.source for cell in CELLS if cell.cell_type == "markdown")


def at(words):
    """Number of the first cell that says so."""
    return next(i for i, cell in enumerate(CELLS) if words in cell.source)


def test_exercises_are_numbered_and_their_solutions_are_right():
    heads = re.findall(r"^### Exercise (\d+) \((?:easy|medium|hard), 5 minutes\): patient (\d)$", TEXT, re.M)
    solved = re.findall(r"^answer_(\d) = (['\"])(.*)\2$", TEXT, re.M)
    assert [int(number) for number, _ in heads] == list(range(1, len(heads) + 1))
    assert len(re.findall(r"^#+ .*Exercise", TEXT, re.M)) == len(heads) == 4
    assert [patient for _, patient in heads] == [patient for patient, *_ in solved]
    assert all(Clinic(WARD).diagnose(int(patient), answer).passed for patient, _, answer in solved)


def test_guidance_is_explained_before_it_is_met():
    box = CELLS[at("**Guidance, if you have not met it.**")].source.split("\n\n")[0]
    assert 80 <= len(box.replace(">", "").split()) <= 120
    for words in ("Ho and Salimans 2022", "null label", r"\epsilon_\varnothing + s\,", "w = s - 1", "15_beyond_ddpm"):
        assert words in box
    assert at("**Guidance, if you have not met it.**") < at("show_exhibits()") < at("draw_sweep()")


def test_a_word_means_one_thing():
    assert not {*ROOMS} & {*PROBES}
    assert "The paper's\n$(1 + w)" not in TEXT
    for exhibit in (*EXHIBITS, *HIDDEN):
        assert "the paper" not in f"{exhibit.name} {exhibit.cause}".lower() or exhibit.room != GUIDANCE


@pytest.mark.parametrize("words", [*ROOMS, *PROBES, *(exhibit.name for exhibit in EXHIBITS)])
def test_the_clinic_prints_every_name_that_may_be_asked_for(words):
    printed = CELLS[at("exhibits:")].outputs[0].text
    assert re.search(rf"(?:[:;,] ){re.escape(words)}(?:[;,\n]|$)", printed)


def test_names_that_only_the_clinic_knows_stand_nowhere():
    assert all(exhibit.name not in str(CELLS) for exhibit in HIDDEN)

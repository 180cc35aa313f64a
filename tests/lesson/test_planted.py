"""Every numbered equation has a wrong formula, listed in its chapter's ``PLANTED``, which its proof finds out there."""

import importlib

import pytest

from tests.lesson.chapters import CHAPTERS, rooms

BOOKS = {part: module.BOOK for part, module in rooms("proofs").items()}


@pytest.mark.parametrize("chapter", [chapter for chapter in CHAPTERS if chapter[2:4] in BOOKS])
def test_every_equation_has_a_planted_error(chapter):
    planted = importlib.import_module(f"tests.lesson.{chapter}.test_proofs").PLANTED
    assert {number for number, _ in planted} == set(BOOKS[chapter[2:4]].equations)

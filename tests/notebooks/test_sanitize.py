"""What ``pytest --nbval notebooks`` compares, and what it leaves out."""

import re

import nbval.plugin
import pytest


@pytest.fixture
def compared(pytestconfig):
    """A text as nbval compares it in this project."""
    with open(pytestconfig.option.nbval_sanitize_with, encoding="utf-8") as file:
        patterns = nbval.plugin.get_sanitize_patterns(file.read())

    def without(text):
        for pattern, replacement in patterns:
            text = re.sub(pattern, replacement, text)
        return text

    return without


@pytest.mark.parametrize(
    "where", ["Checked by `ddpm_lesson/exercises.py`, line {}", "ddpm_lesson/proofs.py, line {}: f"]
)
def test_a_notebook_may_be_older_than_a_move_of_code(compared, where):
    assert compared(where.format(7)) == compared(where.format(112)) != compared(where.format(7).replace(".py", "s.py"))


def test_other_numbers_are_compared(compared):
    for text in ("on line 7", "line 7 of the paper's algorithm", "0.25"):
        assert compared(text) == text


def test_rounding_errors_may_have_other_digits_but_not_another_size(compared):
    assert compared("| 1.6e-15 | 1e-06 |") == compared("| 1.5e-15 | 1e-06 |") != compared("| 1.6e-05 | 1e-06 |")
    for error in ("{}e-07", "{}e-10"):
        assert compared(error.format(2.1)) != compared(error.format(2.2))

"""Proofs: what holds is said to hold, what does not is caught, and every equation of the lesson has one."""

import math
import re
from pathlib import Path

import nbformat
import pytest
import sympy
import torch

from ddpm_lesson.lesson.kit.proof import EQUATIONS, Proof, equation, ledger, prove, symbolic, values_at, worst

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def tags(path):
    """Numbers of the equations in a notebook, in order."""
    cells = nbformat.read(path, as_version=4).cells
    return re.findall(r"\\tag\{([\d.]+)\}", "\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))


@pytest.mark.parametrize("number", EQUATIONS)
def test_equation_holds(number):
    assert prove(number).holds


def test_every_numbered_equation_of_the_notebooks_has_a_proof_and_no_proof_lacks_its_equation():
    assert sorted(tag for path in NOTEBOOKS for tag in tags(path)) == sorted(EQUATIONS)


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if tags(p)], ids=lambda p: p.stem)
def test_every_equation_is_proved_where_it_stands(path):
    text = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    assert [tag for tag in tags(path) if f'prove("{tag}"' not in text] == []
    assert f"ledger({int(path.stem[:2])})" in text


def test_ledger_lists_the_equations_of_a_part_as_a_table():
    table = ledger(3)._repr_markdown_().splitlines()
    assert len(table) == 2 + len([number for number in EQUATIONS if number.startswith("3.")])
    assert len({line.count("|") for line in table}) == 1  # no statement breaks its row


@pytest.mark.parametrize(("error", "holds"), [(0.0, True), (0.1, True), (0.2, False), (float("nan"), False)])
def test_error_within_the_tolerance_holds(error, holds):
    proof = Proof("9.9", "a = b", "algebra", error, 0.1)
    assert proof.holds is holds
    assert ("does not hold" in proof._repr_markdown_()) is not holds


def test_rounding_does_not_show_in_a_stored_proof():
    one, other = (Proof("9.9", "a = b", "algebra", error, 1e-9) for error in (4.4e-16, 3.1e-15))
    assert repr(one) == repr(other) == "<✓ (9.9) holds: algebra, largest error within 1e-09>"


def test_algebra_is_exact_or_tells_a_difference():
    a, b = sympy.symbols("a b", positive=True)
    assert symbolic((a + b) ** 2 - a**2 - 2 * a * b - b**2, a - a) == 0
    assert symbolic(a - a, (a + b) ** 2 - a**2 - b**2) > 0.1


@pytest.mark.parametrize("factors", [1, 2])
def test_agreement_at_the_points_that_are_tried_is_no_proof(factors):
    a = sympy.symbols("a", positive=True)
    assert symbolic(sympy.prod([a - values_at(a, k)[a] for k in (2, 5)[:factors]])) > 1e-3


def test_nan_is_no_small_error():
    assert worst([0.1, 0.3]) == 0.3
    assert math.isnan(worst([0.1, math.nan, 0.3]))


@pytest.mark.parametrize("number", ["3.1", "3.3", "3.5", "3.7"])
def test_formula_that_gives_nan_does_not_hold(number):
    nan = torch.tensor(math.nan)
    assert not prove(number, formula=lambda *_: (nan, nan) if number == "3.1" else nan).holds


def test_unknown_numbers_are_refused():
    with pytest.raises(ValueError, match=r"number must be one of .*3\.1.*; got '99\.1'"):
        prove("99.1")
    with pytest.raises(ValueError, match=r"part must be one of .*3.*; got 99"):
        ledger(99)


def test_number_is_given_once():
    with pytest.raises(ValueError, match=r"equation numbers must be unique; got 3\.1 twice"):
        equation("3.1", "a = b", "algebra", 0)(lambda: 0.0)

"""Proofs: what holds is said to hold, what does not is caught, and every equation of the lesson has one."""

import functools
import math
import re

import pytest
import sympy
import torch

from ddpm_lesson.lesson.kit.proof import Proof, ProofBook, largest, symbolic, values_at
from tests.lesson.chapters import NOTEBOOKS, ROOT, cells, rooms

BOOKS = {part: module.BOOK for part, module in rooms("proofs").items()}
NUMBERS = [number for book in BOOKS.values() for number in book.equations]
WHERE = "`area` in `ddpm_lesson/a.py`, line 3"


def prove(number, **formula):
    return BOOKS[number.split(".")[0].zfill(2)].prove(number, **formula)


@functools.cache
def proved(number):
    """The proof of an equation as it stands, which several tests look at."""
    return prove(number)


def tags(path):
    """Numbers of the equations in a notebook, in order."""
    return re.findall(r"\\tag\{([\d.]+)\}", cells(path, "markdown"))


@pytest.mark.parametrize("number", NUMBERS)
def test_equation_holds(number):
    assert proved(number).holds


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda p: p.stem)
def test_every_numbered_equation_has_a_proof_and_no_proof_lacks_its_equation(path):
    book = BOOKS.get(path.stem[:2])
    assert sorted(tags(path)) == sorted(book.equations if book else [])


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda p: p.stem)
def test_every_equation_is_proved_where_it_stands(path):
    code = cells(path, "code")
    assert [tag for tag in tags(path) if f'"{tag}"' not in code] == []
    assert "ledger()" in code


@pytest.mark.parametrize("part", BOOKS)
def test_ledger_lists_the_equations_of_a_notebook_as_a_table(part, monkeypatch):
    proofs = {number: proved(number) for number in BOOKS[part].equations}
    monkeypatch.setattr(BOOKS[part], "prove", proofs.__getitem__)
    ledger = BOOKS[part].ledger()
    table = ledger._repr_markdown_().splitlines()
    assert [proof.number for proof in ledger] == [f"{int(part)}.{i + 1}" for i in range(len(ledger))]
    assert len(table) == 2 + len(ledger)
    assert len({line.count("|") for line in table}) == 1  # no statement breaks its row


def test_ledger_may_list_a_few():
    assert [proof.number for proof in BOOKS["03"].ledger("3.7", "3.1")] == ["3.7", "3.1"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_proof_says_where_it_stands(number):
    name, file, line = re.fullmatch(r"`(\w+)` in `(.*)`, line (\d+)", proved(number).where).groups()
    code = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert code[int(line) - 1].startswith("@equation(")
    assert any(f"def {name}(" in later for later in code[int(line) : int(line) + 9])


@pytest.mark.parametrize(("error", "holds"), [(0.0, True), (0.1, True), (0.2, False), (float("nan"), False)])
def test_error_within_the_tolerance_holds(error, holds):
    proof = Proof("9.9", "a = b", "algebra", error, 0.1, WHERE)
    assert proof.holds is holds
    assert ("does not hold" in proof._repr_markdown_()) is not holds
    assert WHERE in proof._repr_markdown_()


def test_rounding_does_not_show_in_a_stored_proof():
    one, other = (Proof("9.9", "a = b", "algebra", error, 1e-9, WHERE) for error in (4.4e-16, 3.1e-15))
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
    assert largest([0.1, 0.3]) == 0.3
    assert math.isnan(largest([0.1, math.nan, 0.3]))


@pytest.mark.parametrize("number", ["3.1", "3.3", "3.5", "3.7"])
def test_formula_that_gives_nan_does_not_hold(number):
    nan = torch.tensor(math.nan)
    assert not prove(number, formula=lambda *_: (nan, nan) if number == "3.1" else nan).holds


def test_unknown_numbers_are_refused():
    with pytest.raises(ValueError, match=r"number must be one of .*3\.1.*; got '99\.1'"):
        BOOKS["03"].prove("99.1")


@pytest.mark.parametrize("number", ["9.1", "8.1"])
def test_number_is_given_once_and_belongs_to_the_notebook(number):
    book = ProofBook(9)
    book.equation("9.1", "a = b", "algebra", 0)(lambda: 0.0)
    with pytest.raises(ValueError, match=f"number must be new and begin with 9; got '{number}'"):
        book.equation(number, "a = b", "algebra", 0)

"""Claims: a sentence with a number stands in its notebook word for word, and its number is found anew."""

import json
import re

import pytest

from ddpm_lesson.lesson.kit import claim as kit
from ddpm_lesson.lesson.kit.claim import ClaimBook
from tests.lesson.chapters import NOTEBOOKS, cells, rooms

BOOKS = {part: module.BOOK for part, module in rooms("claims").items()}
CLAIMS = [(part, claim) for part, book in BOOKS.items() for claim in book.claims.values()]
QUICK = [(part, claim) for part, claim in CLAIMS if not claim.slow]
TEXTS = {path.stem[:2]: " ".join(cells(path, "markdown").split()) for path in NOTEBOOKS}


def ids(value):
    return getattr(value, "name", value)


@pytest.mark.parametrize(("part", "claim"), CLAIMS, ids=ids)
def test_the_words_stand_in_the_notebook(part, claim):
    assert " ".join(claim.words.split()) in TEXTS[part]


@pytest.mark.parametrize(("part", "claim"), QUICK, ids=ids)
def test_the_claim_holds_for_every_seed(part, claim):
    found = claim.found()
    assert claim.holds(found), (claim.words, claim.band(), found)


@pytest.mark.parametrize(("part", "claim"), [pair for pair in CLAIMS if pair[1].slow], ids=ids)
def test_a_slow_claim_held_when_it_was_last_measured(part, claim):
    stored = json.loads(kit.RECORD.read_text(encoding="utf-8")).get(part, {}).get(claim.name)
    if stored is None:
        pytest.skip("not measured yet: make claims")
    assert stored["seeds"] == list(claim.seeds)
    assert claim.holds(stored["values"])


@pytest.mark.parametrize("part", BOOKS)
def test_the_ledger_of_claims_closes_the_notebook(part):
    path = next(path for path in NOTEBOOKS if path.stem[:2] == part)
    assert re.search(r"claims import BOOK|claims\.BOOK", cells(path, "code"))


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of one claim, and a place of its own for what was found."""
    monkeypatch.setattr(kit, "RECORD", tmp_path / "claims.json")
    book = ClaimBook(99)

    @book.claim("about <a third>", low=0.3, high=0.36)
    def third(seed):
        return 1 / 3 + seed / 100

    return book


def test_a_claim_holds_if_it_does_for_all_seeds(book):
    third = book.claims["third"]
    assert third.found() == pytest.approx([0.3333, 0.3433, 0.3533], abs=1e-4)
    assert third.holds(third.found())
    assert not third.holds([0.33, 0.37])
    assert not third.holds([0.33, float("nan")])


def test_the_ledger_shows_what_was_found(book):
    assert "not measured yet" in book.ledger()._repr_html_()
    kit.RECORD.write_text(json.dumps({"99": {"third": {"values": [0.33, 0.35]}}}), encoding="utf-8")
    shown = book.ledger()._repr_html_()
    assert "about &lt;a third&gt;" in shown
    assert "0.33 to 0.35" in shown
    assert "0.3 to 0.36" in shown


def test_one_function_may_find_several_numbers_in_the_order_of_the_notebook(book):
    @book.claim("twice", low=2, high=2, seeds=(1,), times=2)
    @book.claim("thrice", low=3, high=3, seeds=(1,), times=3)
    def product(seed, times):
        return seed * times

    assert list(book.claims) == ["third", "product, times = 2", "product, times = 3"]
    assert [claim.found() for claim in list(book.claims.values())[1:]] == [[2], [3]]
    assert "product, times = 3 in " in book.ledger()._repr_html_()


@pytest.mark.parametrize("band", [{}, {"low": 1, "high": 0}, {"low": 0, "seeds": ()}])
def test_a_claim_that_cannot_fail_is_refused(band):
    with pytest.raises(ValueError, match="must"):
        ClaimBook(99).claim("words", **band)

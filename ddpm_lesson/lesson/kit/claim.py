"""What every claim shares: a sentence of a notebook, and a function that finds its number anew."""

import html
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ddpm_lesson.lesson.kit.source import place_of

RECORD = Path(__file__).parents[1] / "claims.json"  # what ``python -m tools.claims`` found when it last ran


class Claim(NamedTuple):
    """A sentence that states a number or a comparison, and how to find it anew."""

    words: str  # as they stand in the notebook
    low: float  # the least and the most that the words allow
    high: float
    find: Callable[..., float]  # from a seed, and what else is given, to the number
    seeds: tuple[int, ...]
    slow: bool  # takes more than a few seconds, so that it runs with ``make claims`` only
    given: dict[str, Any]  # what the function gets besides the seed

    @property
    def name(self) -> str:
        """Name of the function, and what it gets besides the seed."""
        return self.find.__name__ + "".join(f", {name} = {value}" for name, value in self.given.items())

    def found(self) -> list[float]:
        """The number for every seed."""
        return [float(self.find(seed, **self.given)) for seed in self.seeds]

    def holds(self, values: Iterable[float]) -> bool:
        """Whether every value lies within the band."""
        return all(self.low <= value <= self.high for value in values)

    def band(self) -> str:
        """What the words allow, in words."""
        if self.low == float("-inf"):
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high == float("inf") else f"{self.low:g} to {self.high:g}"


class ClaimBook:
    """The claims of one notebook.

    Args:
        part: number of the notebook.
    """

    def __init__(self, part: int):
        self.part = part
        self.claims: dict[str, Claim] = {}  # name -> claim, in the order of the notebook

    def claim(
        self,
        words: str,
        *,
        low: float = float("-inf"),
        high: float = float("inf"),
        seeds: Iterable[int] = (0, 1, 2),
        slow: bool = False,
        **given: Any,
    ) -> Callable[[Callable[..., float]], Callable[..., float]]:
        """Register a function of a seed as the evidence for a sentence, or for several: one above the other.

        Args:
            words: the sentence, or the part of it that claims, word for word as in the notebook.
            low, high: the band that the words allow, both included.
            seeds: it must hold for each of them; a number that no chance enters needs one.
            slow: leave it out of the quick tests.
            given: what the function gets besides the seed, such as ``t=300``.

        Raises:
            ValueError: if the band is empty, open on both sides, or there are no seeds.
        """
        seeds = tuple(seeds)
        if not low <= high or (low, high) == (float("-inf"), float("inf")):
            raise ValueError(f"low and high must be a band that can fail; got {low} to {high}")
        if not seeds:
            raise ValueError("seeds must hold at least one seed; got none")

        def register(find: Callable[..., float]) -> Callable[..., float]:
            new = Claim(words, low, high, find, seeds, slow, given)
            below = [claim for claim in self.claims.values() if claim.find is find]  # the lowest is registered first
            before = [claim for claim in self.claims.values() if claim.find is not find]
            self.claims = {claim.name: claim for claim in (*before, new, *below)}
            return find

        return register

    def ledger(self) -> "ClaimLedger":
        """Every claim with what was found when all were last measured; folded in a notebook."""
        found = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
        return ClaimLedger(self.claims.values(), found.get(f"{self.part:02d}", {}))


class ClaimLedger:
    """Claims as a folded table: the words, what they allow, what was found, and where it is computed."""

    def __init__(self, claims: Iterable[Claim], found: dict[str, Any]):
        self.claims, self.found = list(claims), found

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in self.row(claim))}</tr>" for claim in self.claims)
        head = "<tr><th>the text says</th><th>allowed</th><th>found</th><th>computed by</th></tr>"
        summary = f"{len(self.claims)} sentences with numbers, each computed anew over several seeds"
        return f"<details><summary>{summary}</summary><table>{head}{rows}</table></details>"

    def __repr__(self) -> str:
        return f"<{len(self.claims)} claims>"

    def row(self, claim: Claim) -> list[str]:
        """The cells of a claim."""
        values = self.found.get(claim.name, {}).get("values", [])
        found = (
            f"{min(values):.3g} to {max(values):.3g}"
            if len(set(values)) > 1
            else "".join(f"{v:.3g}" for v in values[:1])
        )
        place = place_of(claim.find).replace("`", "").replace(claim.find.__name__, html.escape(claim.name), 1)
        return [html.escape(claim.words), claim.band(), found or "not measured yet", place]

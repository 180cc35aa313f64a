"""Every exhibit before every probe: who sees what, and who looks like whom."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from itertools import combinations

from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, Exhibit
from ddpm_lesson.lesson.ch14_bug_museum.probes import PROBES, findings
from ddpm_lesson.lesson.ch14_bug_museum.probes.guidance import agreement

Findings = dict[str, Finding]


@functools.cache
def found_in(exhibit: Exhibit | None) -> Findings:
    """What every probe finds in the package with this bug, or without any; worked out once."""
    if exhibit is None:
        return findings()
    with exhibit.infected():
        return findings()


def sick(found: Findings) -> tuple[str, ...]:
    """The probes that see something, in their order."""
    return tuple(name for name in PROBES if not found[name].ok)


def told_apart(one: Exhibit, other: Exhibit) -> str:
    """How two exhibits are told apart: by a ``"probe"``, by a ``"sentence"``, or not at all (``""``)."""
    a, b = found_in(one), found_in(other)
    if sick(a) != sick(b):
        return "probe"
    return "sentence" if any(a[name].sentence != b[name].sentence for name in sick(a)) else ""


def pairs() -> Iterator[tuple[Exhibit, Exhibit, str]]:
    """All pairs of exhibits, and how they are told apart."""
    for one, other in combinations(EXHIBITS, 2):
        yield one, other, told_apart(one, other)


def sweep(exhibit: Exhibit | None, scales: Sequence[float]) -> list[float]:
    """How well guided samples agree with their label at each scale, with this bug or without any."""
    with exhibit.infected() if exhibit else contextlib.nullcontext():
        return [agreement(scale) for scale in scales]

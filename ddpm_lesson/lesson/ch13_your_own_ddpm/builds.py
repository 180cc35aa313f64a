"""What notebook 13 builds: a piece that is watched, to learn who is asked in a run and who is not."""

from collections.abc import Callable
from typing import Any

import torch

from ddpm_lesson.lesson.kit.build import Build, Stage


def watched(name, piece, called):
    def ask(*arguments, **named):
        called.add(name)
        return piece(*arguments, **named)

    return ask


class Counted:
    """A piece that answers with the number of the question, and with what it was asked, by place and by name."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, low: float = 0.0, *, high: float = 1.0) -> tuple[int, float, float]:
        """(1 for the first question and so on, low, high)."""
        self.asked += 1
        return self.asked, low, high


class Pair:
    """A piece that is a class, as blocks and networks are."""

    def __init__(self, one: int, other: int = 2):
        self.sum = one + other


QUESTIONS: tuple[tuple[tuple[float, ...], dict[str, float]], ...] = (
    *(((0.5,), {}), ((0.5,), {}), ((-1.0,), {"high": 3.0}), ((), {"low": 2.0}), ((), {})),
)


def does_the_same(built: Callable[..., Any]) -> str:
    """Same answers as the piece, whatever it is given; the piece is asked once each time, and no chance comes in."""
    spy, piece, random = built("schedule", Counted(), set()), Counted(), torch.get_rng_state()
    if not callable(spy):
        return f"BUILT must return a function to ask in the place of the piece; got {type(spy).__name__}."
    for arguments, named in QUESTIONS:
        got, right = spy(*arguments, **named), piece(*arguments, **named)
        if got != right:
            return (
                f"A piece that counts its questions was asked with {arguments} and {named}: "
                f"watched, it gave {got!r} where {right!r} is right."
            )
    if not torch.equal(random, torch.get_rng_state()):
        return "BUILT draws random numbers: a training that is watched would go another way."
    made = built("SmallUNet", Pair, set())(1, other=5)
    return "" if isinstance(made, Pair) and made.sum == 6 else f"A watched class must make what it makes; got {made!r}."


def notes_who_is_asked(built: Callable[..., Any]) -> str:
    """The name stands in the caller's own set from the first question on, and not before."""
    called: set[str] = {"sample"}
    spies = {name: built(name, Counted(), called) for name in ("schedule", "posterior")}
    if called != {"sample"}:
        return f"Nobody has been asked yet, and `called` holds {sorted(map(str, called))}."
    spies["schedule"]()
    if called != {"sample", "schedule"}:
        return f"After `sample` and `schedule` were asked, `called` holds {sorted(map(str, called))}."
    return ""


def notes_also_who_fails(built: Callable[..., Any]) -> str:
    """A piece that stops was asked all the same, and its error goes on to the caller."""
    called: set[str] = set()
    try:
        built("fit", len, called)(3)
    except TypeError:
        return (
            "" if called == {"fit"} else "A piece that stops with an error was asked as well: note it before you ask."
        )
    return "The piece stopped with an error, and BUILT kept it to itself."


check_watched = Build(
    watched,
    [
        Stage(
            does_the_same,
            "Whoever asks must not notice that somebody watches: all arguments go in, the answer comes out.",
            "The inner `def ask(*arguments, **named):` ends with `return piece(*arguments, **named)`, the outer with "
            "`return ask`.",
        ),
        Stage(
            notes_who_is_asked,
            "When does `called.add(name)` run: when the spy is made, or when it is asked?",
            "`called.add(name)` stands in the inner function, and `called` stays the set that you were given.",
        ),
        Stage(
            notes_also_who_fails,
            "In which order: note, or ask first?",
            "`called.add(name)` first, then `return piece(...)`, and no `try` around it.",
        ),
    ],
    "Five lines, and you know of any program which parts were at work. What was never asked cannot be what you see.",
)

"""What notebook 13 builds: a piece that is watched, to learn who is asked in a run and who is not."""

from collections.abc import Callable
from typing import Any

from ddpm_lesson.lesson.kit.build import Build, Stage


def watched(name, piece, called):
    def ask(*arguments, **named):
        called.add(name)
        return piece(*arguments, **named)

    return ask


def span(low: float, *, high: float = 1.0) -> tuple[float, float]:
    """A piece to try it on; its arguments come by place and by name."""
    return low, high


class Pair:
    """A piece that is a class, as blocks and networks are."""

    def __init__(self, one: int, other: int = 2):
        self.sum = one + other


def does_the_same(built: Callable[..., Any]) -> str:
    """Same answers as the piece, whatever it is given."""
    spy = built("span", span, set())
    if not callable(spy):
        return f"BUILT must return a function to ask in the place of the piece; got {type(spy).__name__}."
    for arguments, named in (((0.5,), {}), ((-1.0,), {"high": 3.0}), ((), {"low": 2.0})):
        got, right = spy(*arguments, **named), span(*arguments, **named)
        if got != right:
            return f"Asked with {arguments} and {named}, the watched piece gave {got!r} where {right!r} is right."
    made = built("Pair", Pair, set())(1, other=5)
    return "" if isinstance(made, Pair) and made.sum == 6 else f"A watched class must make what it makes; got {made!r}."


def notes_who_is_asked(built: Callable[..., Any]) -> str:
    """The name stands in the caller's own set from the first question on, and not before."""
    called: set[str] = {"sample"}
    spies = {name: built(name, span, called) for name in ("schedule", "posterior")}
    if called != {"sample"}:
        return f"Nobody has been asked yet, and `called` holds {sorted(map(str, called))}."
    spies["schedule"](0.1)
    spies["schedule"](0.2)
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
    "Six lines, and you know of any program which parts were at work. What was never asked cannot be what you see.",
)

"""What every exercise shares: try the learner's function, judge what it does, and find the hint that fits."""

import ast
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.answer import (
    EPS,
    FAILURES,
    Answer,
    Attempt,
    agree,
    answer_of,
    attempt,
    call,
    largest,
    read,
    rounding,
)
from ddpm_lesson.lesson.kit.pieces import keep_if_piece
from ddpm_lesson.lesson.kit.source import edited_text


class CheckResult(NamedTuple):
    """The answer to an attempt; renders in a notebook."""

    passed: bool
    misconception: str | None  # name of the mistake that was recognised, or None
    message: str  # Markdown

    def _repr_markdown_(self) -> str:
        return self.message


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people give, and what helps.

    Made in two breaths: ``Mistake("sign", f).says(three lines)``. Edits are pieces of the solution's source, each
    followed by what such a learner would write in its place: ``Mistake("sign", ("xt - ", "xt + "))``.
    """

    name: str  # such as "alpha for alpha_bar"
    function: Callable[..., Any] | tuple[str | re.Pattern, ...]  # what such a learner would write, or edits (see above)
    words: tuple[str, str, str] = ("", "", "")  # what the answer looks like, a hint, and a stronger one

    def says(self, words: str) -> "Mistake":
        """The same mistake with its words, three lines as ``lines_of`` reads them."""
        looks_like, hint, stronger = lines_of(words, 3, self.name)
        return replace(self, words=(looks_like, hint, stronger))


def lines_of(text: str, count: int, whose: str) -> list[str]:
    """The lines of a text, each of which goes on where the next one is indented more.

    Raises:
        ValueError: if there are more or fewer than ``count``; ``whose`` they are is said.
    """
    lines = re.split(r"\n(?=\S)", textwrap.dedent(text.lstrip("\n").rstrip()))
    if len(lines) != count:
        raise ValueError(f"words of {whose!r} must be {count} lines; got {len(lines)}")
    return [" ".join(line.split()) for line in lines]


ROOT = re.compile(r"\.sqrt\(\)| ?\*\* ?0\.5")


def halved(*edits: str) -> Mistake:
    """The slip that may befall a root: ``** 1/2`` halves. All roots of the solution, unless ``edits`` say which."""
    return Mistake("halved for rooted", edits or (ROOT, " / 2")).says("""
        This looks like `** 1/2`: Python takes the power first, and then divides by 2.
        What is `9 ** 1/2`? It is not 3.
        Write `** 0.5`, or `** (1 / 2)`, or `.sqrt()`.""")


def own_noise(given: str, like: str) -> Mistake:
    """The slip of whoever draws noise although the argument ``given`` brings it, of the shape of ``like``."""
    return Mistake("own noise", (f"* {given}\n", f"* {like}.clone().normal_()\n")).says(f"""
        This looks like noise that you drew yourself.
        It would do just as well. But here `{given}` is given, so that your step can be checked.
        Use the argument `{given}`.""")


@functools.cache
def edited(function: Callable[..., Any], *pieces: str | re.Pattern) -> Callable[..., Any]:
    """A function with pieces of its source replaced, in a namespace like its own.

    Args:
        function: a ``def``; its docstring and annotations are source as well.
        pieces: and errors, see ``edited_text``.
    """
    source = edited_text(textwrap.dedent(inspect.getsource(function)), pieces, function.__name__)
    namespace = dict(function.__globals__)
    exec(compile(source, inspect.getfile(function), "exec"), namespace)
    return namespace[function.__name__]


def numbers(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers for the cases, the same for the same seed."""
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


class Later(Sequence):
    """A sequence that is made when it is first asked for: cases that take long to make."""

    def __init__(self, make: Callable[[], Sequence[Any]]):
        self.make = functools.cache(make)

    def __len__(self) -> int:
        return len(self.make())

    def __getitem__(self, index: Any) -> Any:
        return self.make()[index]


def place() -> str:
    """File and line of the exercise that is being made: this runs inside its ``__init__``."""
    frame = sys._getframe(2)
    module, line = frame.f_globals["__name__"], frame.f_lineno
    return f"`{module.replace('.', '/')}.py`, line {line}"


@dataclass(frozen=True)
class Exercise:
    """What the learner is to write, inputs to try it on, and the mistakes that are known.

    Called with the learner's function, it answers with a ``CheckResult``.
    """

    solution: Callable[..., Any]
    cases: Sequence[tuple[Any, ...]]  # arguments, one tuple a call
    mistakes: Sequence[Mistake]
    consequence: str  # something worth knowing for those who got it right
    tolerance: float = 1e-4  # of each number, relative to its own size; what rounding explains comes on top
    function: str = field(default="", kw_only=True)  # name of the learner's function; the solution's unless given
    where: str = field(default_factory=place, kw_only=True)  # its file and line

    def __post_init__(self) -> None:
        """Name the exercise after its solution."""
        object.__setattr__(self, "function", self.function or self.solution.__name__)

    def __call__(self, function: Callable[..., Any]) -> CheckResult:
        """Try the learner's function on every case and answer with the hint that fits."""
        result = self.judge(function)
        if result.passed:
            return result._replace(message=result.message + keep_if_piece(self.function, function))
        if result.message.startswith("*Your turn"):
            return result
        return result._replace(message=f"{result.message}\n\n<small>Checked by {self.where}</small>")

    def judge(self, function: Callable[..., Any]) -> CheckResult:
        """The answer to the learner's function, without the place of the check."""
        return check(self, function)

    @functools.cached_property
    def known(self) -> list[Mistake]:
        """The mistakes, each with the function that such a learner would write."""
        return [
            replace(m, function=edited(self.solution, *m.function)) if isinstance(m.function, tuple) else m
            for m in self.mistakes
        ]

    @functools.cached_property
    def results(self) -> list[Any]:
        """What the solution returns, a case each; worked out once."""
        return [call(self.solution, case) for case in self.cases]

    @functools.cached_property
    def right(self) -> list[Answer]:
        """The right answers, a case each."""
        return [read(result) for result in self.results]

    @functools.cached_property
    def rounding(self) -> list[list[float]]:
        """What float32 costs in each part of each case."""
        return [rounding(self.solution, *pair) for pair in zip(self.cases, self.right, strict=True)]

    @functools.cached_property
    def answers(self) -> list[list[Answer]]:
        """What each known mistake answers, a case each, and nothing where it fails; worked out once."""
        functions: list[Any] = [mistake.function for mistake in self.known]
        return [[answer_of(function, case) for case in self.cases] for function in functions]

    def allowed(self, case: int, part: int, wanted: Tensor, eps: float) -> Tensor:
        """How far each number of a part may be off if it was computed with a spacing of ``eps``.

        A float16 answer may be off by as many units as a float32 answer, and its units are larger.
        """
        seen = self.rounding[case]
        unit = EPS * wanted.abs() + seen[min(part, len(seen) - 1)] + 1e-12 * EPS * largest(wanted)
        return self.tolerance * wanted.abs() + 4 * eps / EPS * unit

    def fits(self, case: int, answer: Answer, other: Answer) -> list[bool]:
        """Whether each part of an answer to a case agrees with another answer."""
        return [
            agree(x, y, self.allowed(case, part, y, eps))
            for part, (x, y, eps) in enumerate(zip(answer.parts, other.parts, answer.eps, strict=False))
        ]

    def same(self, answers: Sequence[Answer], others: Sequence[Answer]) -> bool:
        """Whether the answers to all cases agree with others, in number, shape and value."""
        return all(
            len(one.parts) == len(other.parts) and all(self.fits(case, one, other))
            for case, (one, other) in enumerate(zip(answers, others, strict=True))
        )


def check(exercise: Exercise, function: Callable[..., Any]) -> CheckResult:
    """Try ``function`` on every case of the exercise."""
    name = exercise.function
    if isinstance(function, type):
        return wrong(f"`{name}` must be a function; got a class, `{function.__name__}`. Begin with `def {name}(...)`.")
    if not callable(function):
        got = type(function).__name__
        return wrong(f"`{name}` must be your function itself, without parentheses; got a value ({got}).")
    attempts = [
        attempt(function, case, at_most(right)) for case, right in zip(exercise.cases, exercise.right, strict=True)
    ]
    return judged(exercise, function, attempts)


def at_most(right: Answer) -> int:
    """Values that a learner's iterator may give: more than are asked for, so that too many can be told."""
    return 16 + 4 * max(len(right.parts), *(size for part in right.parts for size in (0, *part.shape)))


def judged(exercise: Exercise, function: Callable[..., Any], attempts: Sequence[Attempt]) -> CheckResult:
    """The answer to what came out of the calls: what was returned first, then how it was found."""
    results = [one.result for one in attempts if not one.error]
    errors = [one.error for one in attempts if one.error]
    if any(isinstance(error, NotImplementedError) and not error.args for error in errors):  # with a text, PyTorch's
        return not_attempted(exercise)
    if not errors and all(result is None or result is ... for result in results):
        if results[0] is ... or is_stub(function):
            return not_attempted(exercise)
        return wrong(f"`{exercise.function}` returns nothing. Is the `return` missing?")
    try:
        answers = [
            Answer([], [], False) if one.error else read(one.result, like)
            for one, like in zip(attempts, exercise.results, strict=True)
        ]
    except FAILURES:
        return wrong(f"`{exercise.function}` must return numbers or tensors; got {describe(results)}.")
    if exercise.same(answers, exercise.right):
        conduct = misconduct(exercise, attempts, answers)
        return wrong(conduct) if conduct else CheckResult(True, None, f"**Right.** {exercise.consequence}")
    for mistake, others in zip(exercise.known, exercise.answers, strict=True):
        if any(other.parts for other in others) and exercise.same(answers, others):
            return recognised(mistake)
    return wrong(stopped(exercise, attempts) or difference(exercise, answers))


def stopped(exercise: Exercise, attempts: Sequence[Attempt]) -> str:
    """The first error, and what was tried; empty if there is none."""
    for case, one in zip(exercise.cases, attempts, strict=True):
        if one.error:
            where = f" (tried with {inputs(exercise, case)})" if inputs(exercise, case) else ""
            return f"`{exercise.function}` stopped with {type(one.error).__name__}: {one.error}{where}"
    return ""


def misconduct(exercise: Exercise, attempts: Sequence[Attempt], answers: Sequence[Answer]) -> str:
    """What a function with the right answers does that it must not; empty if there is nothing."""
    numbers_right = f"The numbers are right, but `{exercise.function}`"
    names = list(inspect.signature(exercise.solution).parameters)
    changes = [(names[i], case[i]) for case, one in zip(exercise.cases, attempts, strict=True) for i in one.changed]
    if changes:
        return f"{numbers_right} {overwrites(*changes[0])}"
    if any(one.seeded for one in attempts):
        return f"{numbers_right} sets the global seed: every batch would get the same noise. Leave the seed alone."
    if any(right.learns and not own.learns for own, right in zip(answers, exercise.right, strict=True)):
        return (
            f"{numbers_right} returns them without a gradient, and a network cannot train on that. Return the tensor "
            "itself: no `.item()`, `float(...)`, `.detach()` or `no_grad`."
        )
    return ""


def overwrites(name: str, value: Any) -> str:
    """That an argument is changed in place, and what to do instead: the rest of a sentence about a function."""
    instead = (
        f"Only read from it and from what it holds (no `pop`, `sort` or `{name}[i] = ...`), or start with a copy: "
        f"`{type(value).__name__}({name})`."
    )
    if not isinstance(value, (list, tuple, dict)):
        copy = "clone" if isinstance(value, Tensor) else "copy"
        instead = (
            f"Make a new one instead: `a = a + b` for `a += b`, `a.mul(b)` for `a.mul_(b)`, or start with a "
            f"`{name}.{copy}()`."
        )
    return f"changes its argument `{name}` in place: whoever called it finds `{name}` overwritten. {instead}"


def is_stub(function: Callable[..., Any]) -> bool:
    """Whether a function's source holds nothing yet but its docstring, ``...``, ``pass`` or an empty ``return``.

    Functions of a notebook's cells have a source too; where there is none, the answer is no.
    """
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except Exception:
        return False
    return isinstance(definition, ast.FunctionDef) and all(map(is_idle, definition.body))


def is_idle(statement: ast.stmt) -> bool:
    """Whether a statement does nothing yet: ``pass``, a constant on its own or returned, ``super().__init__()``."""
    if ast.unparse(statement) == "super().__init__()":
        return True
    if isinstance(statement, ast.Expr | ast.Return):
        return statement.value is None or isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass)


def inputs(exercise: Exercise, case: tuple[Any, ...]) -> str:
    """The arguments of a case that are plain numbers, by the names that the exercise gives them."""
    names = inspect.signature(exercise.solution).parameters
    return ", ".join(f"{name} = {value:g}" for name, value in zip(names, case, strict=False) if is_number(value))


def is_number(value: Any) -> bool:
    """Whether a value is a plain number, and no tensor."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def difference(exercise: Exercise, answers: Sequence[Answer]) -> str:
    """What is wrong with an answer that looks like no known mistake: number, shape, NaN, or how far off."""
    name = exercise.function
    for i, (case, answer, right) in enumerate(zip(exercise.cases, answers, exercise.right, strict=True)):
        if len(answer.parts) != len(right.parts):
            return f"`{name}` must return {len(right.parts)} value(s); got {len(answer.parts)}."
        tried = inputs(exercise, case)
        where = f" for {tried}" if tried else ""
        triples = zip(exercise.fits(i, answer, right), answer.parts, right.parts, strict=True)
        for number, (fit, x, y) in enumerate(triples, 1):
            which = f", as value {number} of {len(right.parts)}" if len(right.parts) > 1 else ""
            if x.shape != y.shape:
                return f"`{name}` must return shape {tuple(y.shape)} here{which}; got {tuple(x.shape)}."
            if x.isnan().any() and not y.isnan().any():
                reasons = "look for 0 / 0, or the root or logarithm of a negative number"
                return f"`{name}` returned NaN{where}{which}: {reasons}."
            if not fit:
                return f"`{name}` returned {apart(x, y)}{where}{which}, and it looks like no mistake we know."
    raise AssertionError("called for answers that are right")


def apart(x: Tensor, y: Tensor) -> str:
    """Where an answer is farthest from the right one, with as many digits as it takes to tell them apart."""
    off = (x - y).abs() / y.abs().clamp(min=1e-3 * largest(y) or 1.0)
    i = int(off.nan_to_num(torch.inf).argmax())
    return told_apart(float(x.flatten()[i]), float(y.flatten()[i]))


def told_apart(got: float, wanted: float) -> str:
    """Two numbers, what is and what is right, with as many digits as it takes to tell them apart."""
    texts = [(in_words(got, digits), in_words(wanted, digits)) for digits in (4, 6, 9, 17)]
    return "{} where {} is right".format(*next((pair for pair in texts if len(set(pair)) == 2), texts[-1]))


def in_words(value: float, digits: int = 4) -> str:
    """A number, whole ones to the last digit."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:.{digits}g}"


def describe(results: Sequence[Any]) -> str:
    """The types of what was returned."""
    return " and ".join(sorted({type(result).__name__ for result in results}))


def not_attempted(exercise: Exercise) -> CheckResult:
    """A friendly line that lets the notebook run through."""
    return CheckResult(False, None, f"*Your turn:* write `{exercise.function}` in the cell above, then run this one.")


def wrong(message: str) -> CheckResult:
    """An answer that is wrong in no way we know by name."""
    return CheckResult(False, None, f"**Not yet.** {message}")


def recognised(mistake: Mistake) -> CheckResult:
    """The name of the mistake, a hint, and a stronger one to unfold."""
    looks_like, hint, stronger = mistake.words
    message = (
        f"**Not yet.** {looks_like}\n\n"
        f"<details><summary>Hint</summary>\n\n{hint}\n\n</details>\n"
        f"<details><summary>Stronger hint</summary>\n\n{stronger}\n\n</details>"
    )
    return CheckResult(False, mistake.name, message)

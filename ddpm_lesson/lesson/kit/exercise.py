"""What every exercise shares: run the learner's function, and find the hint that fits the mistake."""

import ast
import copy
import functools
import inspect
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

FAILURES = (Exception, SystemExit)  # whatever a learner's function may do, the answer is a hint


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
    function: Callable[..., Any] | tuple[str, ...]  # what such a learner would write; or edits of the solution
    words: tuple[str, str, str] = ("", "", "")  # what the answer looks like, a hint, and a stronger one

    def says(self, words: str) -> "Mistake":
        """The same mistake with its words: three lines, each of which goes on where the next one is indented more.

        Raises:
            ValueError: if there are not three.
        """
        lines = textwrap.dedent(words.lstrip("\n").rstrip()).split("\n")
        whole = [" ".join(part.split("\n")) for part in re.split(r"\n(?=\S)", "\n".join(lines))]
        parts = tuple(re.sub(r" {2,}", " ", part) for part in whole)
        if len(parts) != 3:
            raise ValueError(f"words of {self.name!r} must be three lines; got {len(parts)}")
        return replace(self, words=parts)


@functools.cache
def edited(function: Callable[..., Any], *pieces: str) -> Callable[..., Any]:
    """A function with pieces of its source replaced, in a namespace like its own.

    Args:
        function: a ``def``; its docstring and annotations are source as well.
        pieces: old, new, old, new, ...; each edit sees what those before it have left.

    Raises:
        ValueError: unless every old piece stands in the source exactly once and has a new one.
    """
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in zip(pieces[::2], pieces[1::2], strict=True):
        if source.count(old) != 1:
            raise ValueError(f"old must stand once in {function.__name__}; got {old!r}, {source.count(old)} times")
        source = source.replace(old, new)
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
    tolerance: float = 1e-4  # relative to the largest value of a result
    function: str = field(default="", kw_only=True)  # name of the learner's function; the solution's unless given
    where: str = field(default_factory=place, kw_only=True)  # its file and line

    def __post_init__(self) -> None:
        """Name the exercise after its solution."""
        object.__setattr__(self, "function", self.function or self.solution.__name__)

    def __call__(self, function: Callable[..., Any]) -> CheckResult:
        """Try the learner's function on every case and answer with the hint that fits."""
        result = self.judge(function)
        if result.passed or result.message.startswith("*Your turn"):
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
    def answers(self) -> list[list[list[Tensor]]]:
        """What each known mistake answers, a case each; worked out once."""
        functions: list[Any] = [mistake.function for mistake in self.known]
        return [[as_tensors(call(function, case)) for case in self.cases] for function in functions]


def check(exercise: Exercise, function: Callable[..., Any]) -> CheckResult:
    """Try ``function`` on every case of the exercise."""
    if not callable(function):
        got = type(function).__name__
        return wrong(f"`{exercise.function}` must be your function itself, without parentheses; got a value ({got}).")
    results = []
    for case in exercise.cases:
        try:
            results.append(call(function, case))
        except FAILURES as error:
            if isinstance(error, NotImplementedError) and not error.args:  # with a text, it is PyTorch that refuses
                return not_attempted(exercise)
            where = f" (tried with {inputs(exercise, case)})" if inputs(exercise, case) else ""
            return wrong(f"`{exercise.function}` stopped with {type(error).__name__}: {error}{where}")
    if all(result is None or result is ... for result in results):
        if results[0] is ... or is_stub(function):
            return not_attempted(exercise)
        return wrong(f"`{exercise.function}` returns nothing. Is the `return` missing?")
    try:
        answers = [as_tensors(result, like) for result, like in zip(results, exercise.results, strict=True)]
    except FAILURES:
        return wrong(f"`{exercise.function}` must return numbers or tensors; got {describe(results)}.")
    return compare(exercise, answers, [as_tensors(result) for result in exercise.results])


def is_stub(function: Callable[..., Any]) -> bool:
    """Whether a function's source holds nothing yet but its docstring, ``...``, ``pass`` or an empty ``return``.

    Functions of a notebook's cells have a source too; where there is none, the answer is no.
    """
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError):
        return False
    return isinstance(definition, ast.FunctionDef) and all(map(is_idle, definition.body))


def is_idle(statement: ast.stmt) -> bool:
    """Whether a statement does nothing: ``pass``, a constant on its own, ``return`` of nothing or of one."""
    if isinstance(statement, ast.Expr | ast.Return):
        return statement.value is None or isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass)


def compare(exercise: Exercise, answers: list[list[Tensor]], right: list[list[Tensor]]) -> CheckResult:
    """Hold the learner's answers against the right ones, then against every known mistake."""
    if same(answers, right, exercise.tolerance):
        return CheckResult(True, None, f"**Right.** {exercise.consequence}")
    for mistake, others in zip(exercise.known, exercise.answers, strict=True):
        if same(answers, others, exercise.tolerance):
            return recognised(mistake)
    return wrong(difference(exercise, answers, right))


def inputs(exercise: Exercise, case: tuple[Any, ...]) -> str:
    """The arguments of a case that are plain numbers, by the names that the exercise gives them."""
    names = inspect.signature(exercise.solution).parameters
    return ", ".join(f"{name} = {value:g}" for name, value in zip(names, case, strict=False) if is_number(value))


def is_number(value: Any) -> bool:
    """Whether a value is a plain number, and no tensor."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def call(function: Callable[..., Any], case: tuple[Any, ...]) -> Any:
    """Call with copies of the arguments and seeded noise, so that no call disturbs another or the notebook."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return function(*copy.deepcopy(case))


def as_tensors(result: Any, like: Any = None) -> list[Tensor]:
    """A result, or each part of a tuple, as float64; numbers, lists, arrays and tensors of any kind.

    A list or tensor may stand for the tuple that ``like`` is, a tuple of numbers for its tensor, and a tuple or
    generator for its list.
    """
    if isinstance(like, tuple) and has_length(result) and len(result) == len(like):
        result = tuple(result)
    elif isinstance(like, Tensor) and isinstance(result, tuple):
        result = torch.stack([torch.as_tensor(part) for part in result])
    elif isinstance(like, list) and isinstance(result, tuple | Iterator):
        result = list(result)
    parts = result if isinstance(result, tuple) else (result,)
    return [real(torch.as_tensor(part).detach().cpu()) for part in parts]


def real(values: Tensor) -> Tensor:
    """As float64; a complex number, say the root of a negative one, becomes NaN."""
    if values.is_complex():
        values = torch.where(values.imag == 0, values.real, torch.nan)
    return values.to(torch.float64)


def has_length(value: Any) -> bool:
    """Whether ``len`` works; a tensor that is one number has none."""
    return isinstance(value, Sized) and not (isinstance(value, Tensor) and value.ndim == 0)


def same(answers: list[list[Tensor]], others: list[list[Tensor]], tolerance: float) -> bool:
    """Whether all answers agree, in shape and value; NaN equals NaN."""
    return all(
        len(a) == len(b) and all(agree(x, y, tolerance) for x, y in zip(a, b, strict=True))
        for a, b in zip(answers, others, strict=True)
    )


def agree(x: Tensor, y: Tensor, tolerance: float) -> bool:
    """Whether two tensors have one shape and differ by no more than ``tolerance`` of the largest value."""
    if x.shape != y.shape:
        return False
    finite = y[y.isfinite()]
    scale = float(finite.abs().max()) if len(finite) else 1.0
    return torch.allclose(x, y, rtol=0, atol=tolerance * max(scale, 1e-12), equal_nan=True)


def difference(exercise: Exercise, answers: list[list[Tensor]], right: list[list[Tensor]]) -> str:
    """What is wrong with an answer that looks like no known mistake: number, shape, NaN, or how far off."""
    name = exercise.function
    for case, answer, wanted in zip(exercise.cases, answers, right, strict=True):
        if len(answer) != len(wanted):
            return f"`{name}` must return {len(wanted)} value(s); got {len(answer)}."
        for x, y in zip(answer, wanted, strict=True):
            if x.shape != y.shape:
                return f"`{name}` must return shape {tuple(y.shape)} here; got {tuple(x.shape)}."
            if x.isnan().any() and not y.isnan().any():
                return f"`{name}` returned NaN: look for 0 / 0, or the root or logarithm of a negative number."
            if not agree(x, y, exercise.tolerance):
                i = int((x - y).abs().nan_to_num(torch.inf).argmax())
                where = f" for {inputs(exercise, case)}" if inputs(exercise, case) else ""
                got, expected = (in_words(float(z.flatten()[i])) for z in (x, y))
                return (
                    f"`{name}` returned {got} where {expected} is right{where}, and it looks like no mistake we know."
                )
    raise AssertionError("called for answers that are right")


def in_words(value: float) -> str:
    """A number, whole ones to the last digit."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"


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

"""What every exercise shares: run the learner's function, and find the hint that fits the mistake."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """A wrong answer that people give, and what helps."""

    name: str  # such as "alpha for alpha_bar"
    function: Callable[..., Any]  # what a learner who thinks so would write
    message: str  # what the answer looks like, one sentence
    hint: str
    stronger: str


@dataclass(frozen=True)
class Exercise:
    """What the learner is to write, inputs to try it on, and the mistakes that are known.

    Called with the learner's function, it answers with a ``CheckResult``.
    """

    function: str  # name of the learner's function
    solution: Callable[..., Any]
    cases: Sequence[tuple[Any, ...]]  # arguments, one tuple a call
    mistakes: Sequence[Mistake]
    consequence: str  # something worth knowing for those who got it right
    tolerance: float = 1e-4  # relative to the largest value of a result

    def __call__(self, function: Callable[..., Any]) -> CheckResult:
        """Try the learner's function on every case and answer with the hint that fits."""
        return check(self, function)


def check(exercise: Exercise, function: Callable[..., Any]) -> CheckResult:
    """Try ``function`` on every case of the exercise."""
    if not callable(function):
        got = type(function).__name__
        return wrong(f"`{exercise.function}` must be your function itself, without parentheses; got a value ({got}).")
    try:
        results = [call(function, case) for case in exercise.cases]
    except NotImplementedError:
        return not_attempted(exercise)
    except FAILURES as error:
        return wrong(f"`{exercise.function}` stopped with {type(error).__name__}: {error}")
    if all(result is None or result is ... for result in results):
        return not_attempted(exercise)
    try:
        answers = [as_tensors(result) for result in results]
    except FAILURES:
        return wrong(f"`{exercise.function}` must return numbers or tensors; got {describe(results)}.")
    return compare(exercise, answers)


def compare(exercise: Exercise, answers: list[list[Tensor]]) -> CheckResult:
    """Hold the learner's answers against the right ones, then against every known mistake."""
    right = [as_tensors(call(exercise.solution, case)) for case in exercise.cases]
    if same(answers, right, exercise.tolerance):
        return CheckResult(True, None, f"**Right.** {exercise.consequence}")
    for mistake in exercise.mistakes:
        if same(answers, [as_tensors(call(mistake.function, case)) for case in exercise.cases], exercise.tolerance):
            return recognised(mistake)
    return wrong(difference(exercise, answers, right))


def call(function: Callable[..., Any], case: tuple[Any, ...]) -> Any:
    """Call with copies of the arguments and seeded noise, so that no call disturbs another or the notebook."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return function(*copy.deepcopy(case))


def as_tensors(result: Any) -> list[Tensor]:
    """A result, or each part of a tuple, as float64; numbers, lists, arrays and tensors of any kind."""
    parts = result if isinstance(result, tuple) else (result,)
    return [torch.as_tensor(part).detach().cpu().to(torch.float64) for part in parts]


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
    for answer, wanted in zip(answers, right, strict=True):
        if len(answer) != len(wanted):
            return f"`{name}` must return {len(wanted)} value(s); got {len(answer)}."
        for x, y in zip(answer, wanted, strict=True):
            if x.shape != y.shape:
                return f"`{name}` must return shape {tuple(y.shape)} here; got {tuple(x.shape)}."
            if x.isnan().any() and not y.isnan().any():
                return f"`{name}` returned NaN: look for 0 / 0, or the root or logarithm of a negative number."
            if not agree(x, y, exercise.tolerance):
                i = int((x - y).abs().nan_to_num(torch.inf).argmax())
                got, want = float(x.flatten()[i]), float(y.flatten()[i])
                return f"`{name}` returned {got:.4g} where {want:.4g} is right, and it looks like no mistake we know."
    raise AssertionError("called for answers that are right")


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
    message = (
        f"**Not yet.** {mistake.message}\n\n"
        f"<details><summary>Hint</summary>\n\n{mistake.hint}\n\n</details>\n"
        f"<details><summary>Stronger hint</summary>\n\n{mistake.stronger}\n\n</details>"
    )
    return CheckResult(False, mistake.name, message)

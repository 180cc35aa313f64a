"""Exercises whose answers are drawn at random: what is compared is what can be said about them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.answer import EPS, Answer, answer_of, call, read
from ddpm_lesson.lesson.kit.exercise import CheckResult, Exercise, check, in_words, wrong

UNKNOWN = "it looks like no mistake we know"


@dataclass(frozen=True)
class RandomExercise(Exercise):
    """An exercise whose answers are random: what is compared is what ``summary`` says about them.

    ``summary`` takes the function and a case, and gives by name numbers with what chance may do to them; ``refused``
    is said when PyTorch cannot do what it is asked for.
    """

    summary: Callable[..., dict[str, tuple[Any, float]]] = field(kw_only=True)
    refused: str = field(kw_only=True)

    def judge(self, function: Callable[..., Any]) -> CheckResult:
        """Try the learner's function and hold the summary of its answers against the right one."""
        if not callable(function) or isinstance(function, type):
            return check(self, function)
        for _ in range(3):  # an answer that chance alone had refused is right at a second look
            result = check(self, self.summarised(function))
            if result.passed or UNKNOWN not in result.message:
                return result
            if said := self.difference(function):
                return wrong(said)
        return wrong(f"`{self.function}` is right at one call and wrong at the next, and {UNKNOWN}.")

    def summarised(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, answering with the numbers of the summary; a stub stays one."""

        @functools.wraps(function)
        def summary_of(*case: Any) -> Any:
            try:
                said = self.summary(function, *case)
            except NotImplementedError as error:
                raise type(error)(f"{error}. {self.refused}") if error.args else error from None
            return tuple(number for number, _ in said.values()) if isinstance(said, dict) else said

        return summary_of

    @cached_property
    def named(self) -> dict[str, tuple[Any, float]]:
        """The summary of the right answer to the first case."""
        return call(self.summary, (self.solution, *self.cases[0]))

    @cached_property
    def results(self) -> list[Any]:
        """The right summaries."""
        return [call(self.summarised(self.solution), case) for case in self.cases]

    @cached_property
    def answers(self) -> list[list[Answer]]:
        """The summaries of what each known mistake answers."""
        functions: list[Any] = [mistake.function for mistake in self.known]
        return [[answer_of(self.summarised(function), case) for case in self.cases] for function in functions]

    def allowed(self, case: int, part: int, wanted: Tensor, eps: float) -> Tensor:
        """What chance may do, and more to numbers in half precision."""
        return torch.full_like(wanted, [slack for _, slack in self.named.values()][part] * eps / EPS)

    def difference(self, function: Callable[..., Any]) -> str | None:
        """The first number of the summary that is wrong, by its name; None if all are right this time."""
        for i, (case, right) in enumerate(zip(self.cases, self.right, strict=True)):
            answer = read(call(self.summarised(function), case))
            for name, fit, x, y in zip(self.named, self.fits(i, answer, right), answer.parts, right.parts, strict=True):
                if not fit:
                    k = int((x - y).abs().nan_to_num(torch.inf).argmax()) if x.shape == y.shape else 0
                    got, expected = (in_words(float(z.flatten()[k])) for z in (x, y))
                    return f"`{self.function}`: {name} is {got} where {expected} is right, and {UNKNOWN}."
        return None

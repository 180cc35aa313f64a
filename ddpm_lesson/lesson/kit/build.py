"""Exercises that build: what a learner built is taken through stages, each judged by what the thing does."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.answer import FAILURES, differ, isolated
from ddpm_lesson.lesson.kit.exercise import CheckResult, is_stub, lines_of, overwrites, place, told_apart
from ddpm_lesson.lesson.kit.pieces import keep_if_piece
from ddpm_lesson.runtime import first_line


def unlike(
    value: Any, wanted: Tensor | Sequence[int], off: float | Tensor = torch.inf, what: str = "BUILT", gives: bool = True
) -> str:
    """What is wrong with something that a build gave: its type, its shape, a NaN, or a number too far off; or nothing.

    Args:
        value: what it gave.
        wanted: the right tensor, or only its shape.
        off: by how much each number may differ from ``wanted``.
        what: how to call it in the sentence.
        gives: whether ``what`` is that which gives the value, and not the value itself.
    """
    give, have, gave = ("must give", "must give", "gave") if gives else ("must be", "must have", "is")
    shape = tuple(wanted.shape if isinstance(wanted, Tensor) else wanted)
    if not isinstance(value, Tensor):
        got = "nothing. Is the `return` missing?" if value is None else f"{type(value).__name__}."
        return f"{what} {give} a tensor; got {got}"
    if tuple(value.shape) != shape:
        return f"{what} {have} shape {shape} here; got {tuple(value.shape)}."
    if not value.isfinite().all():
        return f"{what} {gave} NaN or infinity."
    if not isinstance(wanted, Tensor):
        return ""
    far = (value.detach().double() - wanted.double()).abs() - torch.as_tensor(off).double()
    if (far <= 0).all():
        return ""
    i = int(far.argmax())
    return f"{what} {gave} {told_apart(float(value.flatten()[i]), float(wanted.flatten()[i]))}."


def watched(built: Any, solution: Any, overwritten: list[tuple[str, Any]]) -> Any:
    """The same function or module on copies of its arguments; those that a call changes in place are noted.

    They go by the solution's names. Models and dictionaries are no copies: they are there to be changed and carried on.
    """

    def noting(function: Callable[..., Any], like: Callable[..., Any]) -> Callable[..., Any]:
        names = list(inspect.signature(like).parameters)

        @functools.wraps(function)
        def noted(*arguments: Any, **named: Any) -> Any:
            own = [copied(argument) for argument in arguments]
            result = function(*own, **named)
            triples = zip(names, own, arguments, strict=False)
            overwritten.extend((name, given) for name, mine, given in triples if differ(mine, given))
            return result

        return noted

    if not isinstance(built, type):
        return noting(built, solution)
    if not issubclass(built, nn.Module):
        return built
    methods = {
        "__init__": noting(built.__init__, solution.__init__),
        "__call__": noting(built.__call__, solution.forward),
    }
    return type(built.__name__, (built,), {"__module__": built.__module__, **methods})


def copied(value: Any) -> Any:
    """A copy of a list, tuple, array or tensor, through which gradients flow; anything else itself."""
    if type(value) in (list, tuple):
        return type(value)(map(copied, value))
    if type(value) is Tensor:
        return value.clone()
    return value.copy() if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class Stage:
    """One thing that a build must do.

    ``judge`` runs what the learner built and says what is wrong with it, in a sentence, or nothing.
    """

    judge: Callable[[Any], str | None]
    hint: str = ""
    stronger: str = ""

    def says(self, words: str) -> "Stage":
        """The same stage with its hint and the stronger one: two lines, written like those of a ``Mistake``."""
        hint, stronger = lines_of(words, 2, getattr(self.judge, "__name__", ""))
        return replace(self, hint=hint, stronger=stronger)


@dataclass(frozen=True)
class Build:
    """Something to write that runs: a function or a module, judged stage by stage by what it does.

    Called with what the learner built, it answers with a ``CheckResult``.
    """

    solution: Callable[..., Any]  # a function or a class
    stages: Sequence[Stage]  # the easy ones first: each may rely on those before it
    consequence: str  # something worth knowing for those who got it right
    where: str = field(default_factory=place, kw_only=True)  # its file and line

    @property
    def name(self) -> str:
        """What the learner's function or class is called."""
        return self.solution.__name__

    def __call__(self, built: Any) -> CheckResult:
        """The answer to what was built, which is kept for notebook 13 if it passes."""
        result = self.judge(built)
        return result._replace(message=result.message + keep_if_piece(self.name, built)) if result.passed else result

    def judge(self, built: Any) -> CheckResult:
        """Take what was built through the stages; the first that it fails answers."""
        if is_unwritten(built):
            return CheckResult(False, None, f"*Your turn:* write `{self.name}` in the cell above, then run this one.")
        misfit = self.misfit(built)
        if misfit:
            return self.wrong(misfit)
        for number, stage in enumerate(self.stages):
            overwritten: list[tuple[str, Any]] = []
            finding, seeded = found(stage.judge, watched(built, self.solution, overwritten))
            if finding is NotImplemented:
                return CheckResult(False, None, f"*Your turn:* `{self.name}` is not finished yet.")
            if seeded:
                return self.wrong(
                    "BUILT sets the global seed: everything after it would draw the same noise. Leave it alone."
                )
            if overwritten:
                return self.wrong(f"BUILT {overwrites(*overwritten[0])}")
            if finding:
                return self.wrong(finding, number)
        return CheckResult(True, None, f"**It works.** {self.consequence}")

    def misfit(self, built: Any) -> str:
        """What is not even of the right kind; empty if all is well."""
        wanted = "class" if isinstance(self.solution, type) else "function"
        if isinstance(built, type) != isinstance(self.solution, type) or not callable(built):
            got = "a class" if isinstance(built, type) else f"a value ({type(built).__name__})"
            got = "a function" if inspect.isroutine(built) else got
            return f"`{self.name}` must be a {wanted}, given itself, without parentheses; got {got}."
        return ""

    def wrong(self, finding: str, stage: int | None = None) -> CheckResult:
        """What was seen, how far it came, and two hints to unfold."""
        finding = finding.replace("BUILT", f"`{self.name}`")
        message = f"**Not yet.** {finding}"
        if stage is not None:
            message += (
                f" ({stage} of {len(self.stages)} stages passed.)\n\n"
                f"<details><summary>Hint</summary>\n\n{self.stages[stage].hint}\n\n</details>\n"
                f"<details><summary>Stronger hint</summary>\n\n{self.stages[stage].stronger}\n\n</details>"
            )
        return CheckResult(False, None, f"{message}\n\n<small>Checked by {self.where}</small>")


def found(judge: Callable[[Any], str | None], built: Any) -> tuple[Any, bool]:
    """What a stage says of a build, and whether the build set the global seed.

    It says a sentence, nothing, or NotImplemented where the learner left a gap; an error becomes a sentence.
    """
    with isolated() as seeded:
        try:
            finding: Any = judge(built) or ""
        except NotImplementedError as error:
            finding = NotImplemented if not error.args else stopped(error)  # with a text it is PyTorch's
        except FAILURES as error:
            finding = stopped(error)
        return finding, seeded()


def stopped(error: BaseException) -> str:
    """An error as a sentence."""
    return f"BUILT stopped with {type(error).__name__}: {first_line(error) or 'no message'}"


def is_unwritten(built: Any) -> bool:
    """Whether a function, or a class, holds nothing yet.

    A class is judged by its methods, and by its ``__init__`` if that is all it has; a class of the learner's that it
    inherits from counts as written here, one of PyTorch's does not.
    """
    if not isinstance(built, type):
        return built is ... or built is None or is_stub(built)
    if built.__module__.split(".")[0] == "torch":
        return False
    own = [base for base in built.__mro__ if base.__module__.split(".")[0] != "torch"]
    methods = [value for base in own for value in vars(base).values() if inspect.isfunction(value)]
    return all(map(is_stub, [method for method in methods if method.__name__ != "__init__"] or methods))

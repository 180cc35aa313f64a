"""What every proof shares: an equation has a number, a statement, and a function that tells how wrong it is."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.source import place_of
from ddpm_lesson.pictures import markdown_table

Formula = Callable[..., Any]  # what a proof doubts


class Proof(NamedTuple):
    """An equation that was held against an independent way to the same quantity; renders in a notebook."""

    number: str  # as in the notebook: "2.3"
    statement: str  # in LaTeX
    how: str  # algebra, quadrature, Monte Carlo, ...
    error: float  # the largest difference that was seen
    tolerance: float  # the largest that would be accepted
    where: str  # the function that proves it, its file and its line

    @property
    def holds(self) -> bool:
        """Whether the error is a number within the tolerance."""
        return self.error <= self.tolerance

    def _repr_markdown_(self) -> str:
        return f"{self.verdict()}\n\n<small>{self.where}</small>"

    def verdict(self) -> str:
        """Whether the equation holds, and how far it is off, in one line."""
        if self.holds:
            return f"✓ **({self.number}) holds**: {self.how}, largest error within {self.tolerance:.2g}"
        return f"✗ **({self.number}) does not hold**: {self.how}, error {self.error:.2g}, {self.tolerance:.2g} allowed"

    def __repr__(self) -> str:
        """The verdict without markup: the last digits of an error, which differ between machines, are not in it."""
        return f"<{self.verdict().replace('**', '')}>"


class Equation(NamedTuple):
    """A numbered equation and the function that tells its largest error."""

    statement: str
    how: str
    tolerance: float
    error: Callable[..., float]


class ProofBook:
    """The numbered equations of one notebook, each with its proof.

    Args:
        part: number of the notebook, with which the number of each equation begins.
    """

    def __init__(self, part: int):
        self.part = part
        self.equations: dict[str, Equation] = {}  # number -> equation, in the order of the lesson

    def equation(self, number: str, statement: str, how: str, tolerance: float) -> Callable[[Callable], Callable]:
        """Register a function as the proof of a numbered equation.

        The function takes the formula that it doubts as a keyword with the right formula as its default, computes the
        same quantity another way, and returns the largest difference.

        Raises:
            ValueError: if the number is taken, or of another notebook.
        """
        if number in self.equations or number.split(".")[0] != str(self.part):
            raise ValueError(f"number must be new and begin with {self.part}; got {number!r}")

        def register(error: Callable[..., float]) -> Callable[..., float]:
            self.equations[number] = Equation(statement, how, tolerance, error)
            return error

        return register

    def prove(self, number: str, **formula: Any) -> Proof:
        """Check a numbered equation, or another formula that is put in its place.

        Args:
            number: such as ``"2.3"``.
            formula: replacements for what the proof doubts, by name, to see a wrong formula fail.

        Raises:
            ValueError: if there is no such equation.
        """
        if number not in self.equations:
            raise ValueError(f"number must be one of {', '.join(self.equations)}; got {number!r}")
        statement, how, tolerance, error = self.equations[number]
        return Proof(number, statement, how, float(error(**formula)), tolerance, place_of(error))

    def ledger(self, *numbers: str) -> "Ledger":
        """Prove the equations with these numbers, or all of the notebook."""
        return Ledger(map(self.prove, numbers or self.equations))


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, float64, the same for the same seed."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def largest(errors: Iterable[Tensor | float]) -> float:
    """The largest absolute value among numbers and tensors; NaN if there is one, which no tolerance admits."""
    return float(torch.cat([torch.as_tensor(e, dtype=torch.float64).abs().flatten() for e in errors]).max())


def symbolic(*expressions: Any) -> float:
    """0.0 if sympy finds that expressions vanish whatever their symbols are; else their largest size at two points.

    What vanishes at both points, but not everywhere, counts as 1.
    """
    import sympy

    left = [e for e in map(sympy.simplify, expressions) if e != 0]
    if not left:
        return 0.0
    return largest(abs(float(e.subs(values_at(e, k)))) for e in left for k in (2, 5)) or 1.0


def values_at(expression: Any, k: int) -> dict[Any, Any]:
    """A fraction between 0 and 1 for every symbol of an expression, another one for another ``k``."""
    import sympy

    names = sorted(expression.free_symbols, key=str)
    return {symbol: sympy.Rational(i + k, i + k + 3) for i, symbol in enumerate(names)}


class Ledger(tuple[Proof, ...]):
    """Proofs as a table: number, statement, how it was proved, largest error."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        rows = [
            (
                f"({p.number})",
                f"${p.statement}$",
                p.how,
                f"{p.error:.1e}",
                f"{p.tolerance:.2g}",
                "✓" if p.holds else "✗",
            )
            for p in self
        ]
        return markdown_table(["equation", "statement", "proved by", "largest error", "allowed", "holds"], rows)


def root(x: Any) -> Any:
    """The square root of a tensor or a symbol."""
    import sympy

    return x.sqrt() if isinstance(x, Tensor) else sympy.sqrt(x)

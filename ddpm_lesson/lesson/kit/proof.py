"""What every proof shares: an equation has a number, a statement, and a function that tells how wrong it is."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.pictures import markdown_table


class Proof(NamedTuple):
    """An equation that was held against an independent way to the same quantity; renders in a notebook."""

    number: str  # as in the notebook: "2.3"
    statement: str  # in LaTeX
    how: str  # algebra, quadrature, Monte Carlo, ...
    error: float  # the largest difference that was seen
    tolerance: float  # the largest that would be accepted

    @property
    def holds(self) -> bool:
        """Whether the error is a number within the tolerance."""
        return self.error <= self.tolerance

    def _repr_markdown_(self) -> str:
        if self.holds:
            return f"✓ **({self.number}) holds**: {self.how}, largest error within {self.tolerance:.2g}"
        return f"✗ **({self.number}) does not hold**: {self.how}, error {self.error:.2g}, {self.tolerance:.2g} allowed"

    def __repr__(self) -> str:
        """The same without markup: the last digits of an error, which differ between machines, are not in it."""
        return f"<{self._repr_markdown_().replace('**', '')}>"


class Equation(NamedTuple):
    """A numbered equation and the function that tells its largest error."""

    number: str
    statement: str
    how: str
    tolerance: float
    error: Callable[..., float]


EQUATIONS: dict[str, Equation] = {}  # number -> equation, in the order of the lesson


def equation(number: str, statement: str, how: str, tolerance: float) -> Callable[[Callable], Callable]:
    """Register a function as the proof of a numbered equation.

    The function takes the formula that it doubts as a keyword with the right formula as its default, computes the same
    quantity another way, and returns the largest difference.
    """

    def register(error: Callable[..., float]) -> Callable[..., float]:
        if number in EQUATIONS:
            raise ValueError(f"equation numbers must be unique; got {number} twice")
        EQUATIONS[number] = Equation(number, statement, how, tolerance, error)
        return error

    return register


def prove(number: str, **formula: Any) -> Proof:
    """Check a numbered equation, or another formula that is put in its place.

    Args:
        number: such as ``"2.3"``.
        formula: replacements for what the proof doubts, by name, to see a wrong formula fail.

    Raises:
        ValueError: if there is no such equation.
    """
    if number not in EQUATIONS:
        raise ValueError(f"number must be one of {', '.join(EQUATIONS)}; got {number!r}")
    _, statement, how, tolerance, error = EQUATIONS[number]
    return Proof(number, statement, how, float(error(**formula)), tolerance)


def worst(errors: Iterable[Tensor | float]) -> float:
    """The largest absolute value among numbers and tensors; NaN if there is one, which no tolerance admits."""
    return float(torch.cat([torch.as_tensor(e, dtype=torch.float64).abs().flatten() for e in errors]).max())


def symbolic(*expressions: Any) -> float:
    """0.0 if sympy finds that expressions vanish whatever their symbols are; else their largest size at two points.

    What vanishes at both points, but not everywhere, counts as 1.
    """
    import sympy

    left = [e for e in map(sympy.simplify, expressions) if e != 0]
    return worst(abs(float(e.subs(values_at(e, k)))) for e in left for k in (2, 5)) or 1.0 if left else 0.0


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


def ledger(part: int | str) -> Ledger:
    """Prove every equation of a part of the lesson; ``ledger(2)`` is that of notebook 02.

    Raises:
        ValueError: if the part has no numbered equations.
    """
    numbers = [number for number in EQUATIONS if number.split(".")[0] == str(part)]
    if not numbers:
        parts = sorted({number.split(".")[0] for number in EQUATIONS})
        raise ValueError(f"part must be one of {', '.join(parts)}; got {part!r}")
    return Ledger(prove(number) for number in numbers)


def root(x: Any) -> Any:
    """The square root of a tensor or a symbol."""
    import sympy

    return x.sqrt() if isinstance(x, Tensor) else sympy.sqrt(x)

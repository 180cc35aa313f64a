"""What a learner's function answers: called with care, brought into one form, and measured against rounding."""

import contextlib
import copy
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

FAILURES = (Exception, SystemExit)  # whatever a learner's function may do, the answer is a hint
SEED = 200_611_239  # of the noise during a call; nobody else's, so that another seed tells who set one
EPS = torch.finfo(torch.float32).eps


class Answer(NamedTuple):
    """A result in one form: its parts in float64, how finely each was computed, and whether it can train."""

    parts: list[Tensor]  # none if the call failed
    eps: list[float]  # spacing of the numbers next to 1, that of float32 at least
    learns: bool  # whether a gradient flows back from it


class Attempt(NamedTuple):
    """What came out of a call, and what the function did besides."""

    result: Any
    changed: list[int]  # positions of the arguments that it changed in place
    seeded: bool  # whether it set the global seed
    error: BaseException | None = None  # what stopped it


def attempt(function: Callable[..., Any], case: Sequence[Any], longest: int = 100_000) -> Attempt:
    """Call with copies of the arguments and seeded noise, so that no call disturbs another or the notebook.

    Args:
        function: the learner's.
        case: its arguments.
        longest: values that an iterator may give; more are an error.
    """
    try:
        return unguarded(function, case, longest)
    except FAILURES as error:
        return Attempt(None, [], False, error)


def unguarded(function: Callable[..., Any], case: Sequence[Any], longest: int) -> Attempt:
    """The same, and whatever the function raises comes through."""
    arguments = copy.deepcopy(case)
    with isolated() as seeded:
        result = settled(function(*arguments), longest)
        changed = [i for i, pair in enumerate(zip(arguments, case, strict=True)) if differ(*pair)]
        return Attempt(result, changed, seeded())


@contextlib.contextmanager
def isolated() -> Iterator[Callable[[], bool]]:
    """For a learner's code: seeded noise, gradients, no warnings; what it does to them ends here.

    Gives a function that tells whether the code set the global seed.
    """
    guarded = patch.multiple(torch.linalg, eig=of_numbers(torch.linalg.eig), eigvals=of_numbers(torch.linalg.eigvals))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.enable_grad(), guarded:
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(SEED)
        yield lambda: torch.initial_seed() != SEED


def of_numbers(solve: Callable[..., Any]) -> Callable[..., Any]:
    """The same eigenvalues, but those of NaN are an error: from MKL they end the whole kernel."""

    def solve_numbers(matrix: Any, **options: Any) -> Any:
        if not torch.as_tensor(matrix).isfinite().all():
            raise ValueError(
                "eigenvalues of NaN or infinity were asked for; is a root of a negative number among them?"
            )
        return solve(matrix, **options)

    return solve_numbers


def call(function: Callable[..., Any], case: Sequence[Any]) -> Any:
    """What a function returns for a case."""
    return unguarded(function, case, 100_000).result


def answer_of(function: Callable[..., Any], case: Sequence[Any]) -> Answer:
    """What a function answers to a case; nothing if it fails."""
    one = attempt(function, case)
    return Answer([], [], False) if one.error else read(one.result)


def settled(result: Any, longest: int) -> Any:
    """The same with every iterator run through and made a list."""
    if isinstance(result, Iterator):
        result = list(itertools.islice(result, longest + 1))
        if len(result) > longest:
            raise ValueError(f"gives more than {longest:,} values. Does its loop ever end?")
    if type(result) in (list, tuple):
        return type(result)(settled(part, longest) for part in result)
    return result


def differ(one: Any, other: Any) -> bool:
    """Whether plain values differ: numbers, words, tensors, arrays, and lists, tuples, sets or dictionaries of such.

    Anything else, such as a model or an optimiser, is there to be changed.
    """
    if type(one) is not type(other):
        return True
    if isinstance(one, (list, tuple)):
        return len(one) != len(other) or any(map(differ, one, other))
    if isinstance(one, dict):
        return one.keys() != other.keys() or any(differ(value, other[key]) for key, value in one.items())
    if type(one) is Tensor:
        return (
            one.dtype != other.dtype or one.shape != other.shape or bool((one.nan_to_num() != other.nan_to_num()).any())
        )
    if isinstance(one, np.ndarray):
        return not np.array_equal(one, other)
    return isinstance(one, (int, float, str, set)) and one != other


def read(result: Any, like: Any = None) -> Answer:
    """A result, or each part of a tuple: numbers, arrays and tensors of any kind, and lists of such.

    A list or tensor may stand for the tuple that ``like`` is, a tuple for its tensor or list, a list of images for
    its batch, and a tensor of one number for a number.

    Raises:
        TypeError, ValueError, RuntimeError: if it is no such thing.
    """
    if isinstance(like, tuple):
        whole = has_length(result) and len(result) == len(like)
        parts = tuple(result) if whole or isinstance(result, tuple) else (result,)
    else:
        like, parts = (like,), result if like is None and isinstance(result, tuple) else (result,)
    tensors = [fitted(part, k) for part, k in itertools.zip_longest(parts, like[: len(parts)])]
    eps = [torch.finfo(t.dtype).eps if t.is_floating_point() or t.is_complex() else EPS for t in tensors]
    return Answer([real(t.detach().cpu()) for t in tensors], [max(e, EPS) for e in eps], any_learns(tensors))


def any_learns(tensors: Sequence[Tensor]) -> bool:
    """Whether a gradient flows back from one of them."""
    return any(t.requires_grad for t in tensors)


def fitted(part: Any, like: Any) -> Tensor:
    """A part as a tensor, without the axis that a list of batches of one has, or that a single number has."""
    tensor = tensor_of(part)
    if like is None:
        return tensor
    shape = tensor_of(like).shape
    if not shape and tensor.numel() == 1:
        return tensor.reshape(())
    listed = isinstance(part, (list, tuple)) and tensor.ndim > 1 and tensor.shape != shape
    return tensor.squeeze(1) if listed and (tensor.shape[0], *tensor.shape[2:]) == tuple(shape) else tensor


def tensor_of(value: Any) -> Tensor:
    """A number, array or tensor, or a list of such, as a tensor; a gradient stays, and a number keeps its digits."""
    if isinstance(value, (list, tuple)) and len(value):
        return torch.stack([tensor_of(part) for part in value])
    return torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None)


def real(values: Tensor) -> Tensor:
    """As float64; a complex number, say the root of a negative one, becomes NaN."""
    if values.is_complex():
        values = torch.where(values.imag == 0, values.real, torch.nan)
    return values.to(torch.float64)


def has_length(value: Any) -> bool:
    """Whether a value is a list, or an array or tensor of at least one axis."""
    return isinstance(value, (list, tuple)) or bool(getattr(value, "ndim", 0))


def agree(x: Tensor, y: Tensor, allowed: Tensor) -> bool:
    """Whether two tensors have one shape and differ by no more than is allowed, number by number; NaN equals NaN."""
    if x.shape != y.shape:
        return False
    near = y.isfinite() & ((x - y).abs() <= allowed)
    return bool((near | (x == y) | (x.isnan() & y.isnan())).all())


def rounding(function: Callable[..., Any], case: Sequence[Any], right: Answer) -> list[float]:
    """What float32 makes of a case, against float64: the largest difference in each part.

    One unit of the largest value where a case cannot be cast, or where the two have nothing to do with each other
    because something is drawn.
    """
    sizes = [largest(part) for part in right.parts]
    try:
        rough, exact = (read(call_in(dtype, function, case)) for dtype in (torch.float32, torch.float64))
        seen = [largest(one - other) for one, other in zip(rough.parts, exact.parts, strict=True)]
    except FAILURES:
        return [EPS * size for size in sizes]
    return [s if s < size / 50 else EPS * size for s, size in zip(seen, sizes, strict=True)]


def largest(values: Tensor) -> float:
    """The largest finite size among values; 0 if there is none."""
    return max(values[values.isfinite()].abs().flatten().tolist(), default=0.0)


def call_in(dtype: torch.dtype, function: Callable[..., Any], case: Sequence[Any]) -> Any:
    """What a function returns when all floating numbers, those that it makes as well, are of one kind."""
    with default_dtype(dtype):
        return call(lambda *arguments: function(*(cast(a, dtype) for a in arguments)), case)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """The kind of floating numbers that PyTorch makes."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def cast(argument: Any, dtype: torch.dtype) -> Any:
    """An argument with its floating numbers in another kind; modules too."""
    if isinstance(argument, (list, tuple)):
        return type(argument)(cast(part, dtype) for part in argument)
    is_cast = isinstance(argument, nn.Module) or (isinstance(argument, Tensor) and argument.is_floating_point())
    return argument.to(dtype) if is_cast else argument

"""Systematic slips in a solution: each is a function that a learner might have written, and that must be refused."""

import ast
import copy
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

SWAPS = {
    **{ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Mult]},
    **{ast.Lt: [ast.LtE], ast.LtE: [ast.Lt], ast.Gt: [ast.GtE], ast.GtE: [ast.Gt], ast.Eq: [ast.NotEq]},
    ast.Pow: [ast.Mult],
}
DROPPED = ("sqrt", "clamp", "clamp_min", "abs", "log", "exp", "mean", "sum", "square", "flip", "cumsum", "cumprod")
EXCHANGED = {"mean": "sum", "sum": "mean", "cumprod": "cumsum", "minimum": "maximum", "min": "max", "max": "min"}
EXCHANGED |= {other: one for one, other in EXCHANGED.items()}


def solution_tree(function: Callable[..., Any]) -> ast.expr | ast.FunctionDef | ast.ClassDef | None:
    """The syntax tree of a function or class, also of a lambda among the arguments of a call; None if it is unclear."""
    if isinstance(function, type):
        return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    try:
        tree = ast.parse(inspect.getsource(inspect.getmodule(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    line = function.__code__.co_firstlineno
    kinds = (ast.FunctionDef, ast.Lambda)
    found = [
        n for n in ast.walk(tree) if isinstance(n, kinds) and line in (n.lineno, *(d.lineno for d in decorators(n)))
    ]
    named = [n for n in found if getattr(n, "name", "<lambda>") == function.__name__]
    return named[0] if len(named) == 1 and not function.__code__.co_freevars else None


def decorators(node: ast.AST) -> list[ast.expr]:
    return getattr(node, "decorator_list", [])


def compiled(tree: ast.expr | ast.FunctionDef | ast.ClassDef, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function or class of a changed tree, in the namespace of the original."""
    namespace = dict(vars(inspect.getmodule(function)) if isinstance(function, type) else function.__globals__)
    if isinstance(tree, ast.Lambda):
        return eval(compile(ast.Expression(ast.fix_missing_locations(tree)), "<mutant>", "eval"), namespace)
    tree.decorator_list = []
    exec(compile(ast.Module([ast.fix_missing_locations(tree)], []), "<mutant>", "exec"), namespace)
    return namespace[tree.name]


def slips(node: ast.AST) -> Iterator[ast.AST]:
    """Every small slip in one node of a syntax tree."""
    match node:
        case ast.BinOp(left, op, right):
            yield from (ast.BinOp(left, other(), right) for other in SWAPS.get(type(op), []))
            yield from (left, right)  # a term, a factor, a root or a power is dropped
            if isinstance(op, ast.Sub | ast.Div):
                yield ast.BinOp(right, op, left)
        case ast.UnaryOp(ast.USub(), operand):
            yield operand
        case ast.Compare(left, [op], rest) if type(op) in SWAPS:
            yield ast.Compare(left, [SWAPS[type(op)][0]()], rest)
        case ast.IfExp(_, body, orelse):
            yield from (body, orelse)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Call(ast.Attribute(value, name), arguments) if name in DROPPED and not is_torch(value):
            yield value
        case ast.Call(ast.Attribute(value, name), [first, *_]) if name in DROPPED and is_torch(value):
            yield first
    match node:
        case ast.Call(ast.Attribute(value, name), arguments, keywords) if name in EXCHANGED:
            yield ast.Call(ast.Attribute(value, EXCHANGED[name], ast.Load()), arguments, keywords)
        case ast.Subscript(value, index, context) if isinstance(index, ast.Name | ast.BinOp):
            yield from (
                ast.Subscript(value, ast.BinOp(index, op(), ast.Constant(1)), context) for op in (ast.Add, ast.Sub)
            )


def is_torch(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("torch", "F", "math", "np")


class Replace(ast.NodeTransformer):
    """Puts one node in the place of the n-th that is visited."""

    def __init__(self, old: ast.AST, new: ast.AST):
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def edits(function: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every slip in the source of a function: what it changes, and the function that results."""
    tree = solution_tree(function)
    if tree is None:
        return
    body = tree.body if isinstance(tree, ast.Lambda) else ast.Module(tree.body, [])
    for i, node in enumerate(ast.walk(body)):
        for k, new in enumerate(slips(node)):
            other = copy.deepcopy(tree)
            inside = other.body if isinstance(other, ast.Lambda) else ast.Module(other.body, [])
            old = list(ast.walk(inside))[i]
            slip = list(slips(old))[k]
            changed = Replace(old, slip).visit(other)
            name = f"{ast.unparse(node)} -> {ast.unparse(new)}"
            try:
                yield name, compiled(changed, function)
            except (SyntaxError, TypeError, ValueError):
                continue


def habits(function: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Slips that do not stand in the formula: ends of t, gradients cut, inputs changed, seeds set."""

    def wrapped(change: Callable[..., Any]) -> Callable[..., Any]:
        return functools.wraps(function)(change)

    def detached(*case):
        result = function(*case)
        return each(lambda part: part.detach() if isinstance(part, torch.Tensor) else part, result)

    def as_number(*case):
        result = function(*case)
        return result.item() if isinstance(result, torch.Tensor) and result.ndim == 0 else result

    def input_changed(*case):
        result = each(lambda part: part.clone() if isinstance(part, torch.Tensor) else part, function(*case))
        with torch.no_grad():
            for argument in case:
                if type(argument) is torch.Tensor:
                    argument.add_(1)
        return result

    def seeded(*case):
        torch.default_generator.manual_seed(0)
        return function(*case)

    yield "gradient detached", wrapped(detached)
    yield "loss as a number", wrapped(as_number)
    yield "inputs changed in place", wrapped(input_changed)
    yield "seed set inside", wrapped(seeded)


def changed(value: Any) -> bool:
    """Change a value in place, as little as may be: itself or what it holds; whether there was a way."""
    match value:
        case torch.Tensor() if type(value) is torch.Tensor and value.numel():
            with torch.no_grad():
                value.copy_(~value if value.dtype == torch.bool else value + 1)
        case np.ndarray():
            value += 1
        case list() if value and not changed(value[-1]):
            value[-1] = (*value[-1], 0) if isinstance(value[-1], tuple) else value[-1] + 1
        case dict() if value and not changed(last := list(value.values())[-1]):
            value[list(value)[-1]] = last + 1
        case list() | dict():
            return bool(value)
        case tuple():
            return any(map(changed, value))
        case _:
            return False
    return True


def each(change: Callable[[Any], Any], result: Any) -> Any:
    """``change`` applied to a result, or to each part of a tuple."""
    return tuple(map(change, result)) if isinstance(result, tuple) else change(result)


def clipped(text: str, n: int = 110) -> str:
    """One line of at most ``n`` characters."""
    return textwrap.shorten(text, n, placeholder=" ..")

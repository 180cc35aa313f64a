"""Where the code of the package stands, and what it says: shown from the source, so that it cannot drift."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Source(NamedTuple):
    """Code of the package; renders in a notebook."""

    file: str  # where it stands, such as "ddpm_lesson/diffusion.py"
    code: str

    def _repr_markdown_(self) -> str:
        return f"`{self.file}`\n\n```python\n{self.code}\n```"


def source_of(thing: Any, *, docstring: bool = False) -> Source:
    """The source of a function, method or class as it stands in the package, so that what is shown cannot drift.

    Args:
        thing: a function, method or class.
        docstring: show its docstring as well.
    """
    code = textwrap.dedent(inspect.getsource(thing)).rstrip()
    body = getattr(ast.parse(code).body[0], "body", [])
    words = None if docstring else next(filter(is_docstring, body), None)
    if words:
        lines = code.splitlines()
        code = "\n".join(lines[: words.lineno - 1] + lines[words.end_lineno :])
    return Source(file_of(thing), code)


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is nothing but a string."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def place_of(function: Callable[..., Any]) -> str:
    """Where a function of the package stands, in Markdown: its name, its file and its line."""
    line = inspect.getsourcelines(function)[1]
    return f"`{function.__name__}` in `{file_of(function)}`, line {line}"


def file_of(thing: Any) -> str:
    """The file of a function, method or class, such as ``ddpm_lesson/diffusion.py``."""
    return thing.__module__.replace(".", "/") + ".py"


def edited_text(source: str, pieces: Sequence[str | re.Pattern], name: str) -> str:
    """The source of the function called ``name`` with pieces replaced: old, new, old, new, ...

    Each edit sees what those before it have left. An old piece that is a pattern is replaced wherever it stands.

    Raises:
        ValueError: unless every old piece stands in the source, once if it is text, and has a new one.
    """
    for old, new in zip(pieces[::2], pieces[1::2], strict=True):
        everywhere = isinstance(old, re.Pattern)
        source, count = re.subn(old if everywhere else re.escape(old), lambda _, new=new: str(new), source)
        if count != 1 and not (count and everywhere):
            raise ValueError(f"old must stand once in {name}; got {old!r}, {count} times")
    return source

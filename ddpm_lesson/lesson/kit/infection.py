"""How a bug gets into the package: a few words of its source are replaced, for as long as somebody looks."""

import contextlib
import difflib
import functools
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from ddpm_lesson.lesson.kit.source import Source, edited_text


def place(target: str) -> tuple[Any, str]:
    """The module or class, and the name in it, that ``"diffusion:DenoiseDiffusion.loss"`` means."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(f"ddpm_lesson.{module}")
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    return owner, name


@functools.cache
def sources(target: str, pieces: tuple[str, ...]) -> tuple[str, str]:
    """The source of a function of the package, and the same with pieces replaced.

    Args:
        target: such as ``"diffusion:DenoiseDiffusion.loss"``.
        pieces: and errors, see ``edited_text``.
    """
    owner, name = place(target)
    healthy = textwrap.dedent(inspect.getsource(inspect.unwrap(getattr(owner, name))))
    return healthy, edited_text(healthy, pieces, target)


@functools.cache
def edited_in_place(target: str, pieces: tuple[str, ...]) -> Any:
    """The function with its pieces replaced, in a namespace like its own; ``super()`` works in it."""
    owner, name = place(target)
    _, sick = sources(target, pieces)
    function: Callable[..., Any] = inspect.unwrap(getattr(owner, name))
    namespace = dict(function.__globals__)
    exec(f"def made(__class__):\n{textwrap.indent(sick, '    ')}\n    return {name}", namespace)
    return namespace["made"](owner)


@contextlib.contextmanager
def replaced(target: str, pieces: tuple[str, ...]) -> Iterator[None]:
    """Put the edited function into the package, wherever it is known by name, and take it out again."""
    owner, name = place(target)
    original, sick = vars(owner)[name], edited_in_place(target, pieces)
    holders = [m for key, m in list(sys.modules.items()) if key.split(".")[0] == "ddpm_lesson"]
    known = [owner] if inspect.isclass(owner) else [m for m in holders if vars(m).get(name) is original]
    for holder in known:
        setattr(holder, name, sick)
    try:
        yield
    finally:
        for holder in known:
            setattr(holder, name, original)


def diff_of(target: str, pieces: tuple[str, ...]) -> Source:
    """The lines that differ, with one line around them, as a diff of the package's own source."""
    healthy, sick = (text.splitlines() for text in sources(target, pieces))
    lines = [line for line in difflib.unified_diff(healthy, sick, n=1, lineterm="") if line[:3] not in ("---", "+++")]
    return Diff(f"ddpm_lesson/{target.partition(':')[0].replace('.', '/')}.py", "\n".join(lines[1:]))


class Diff(Source):
    """A diff of the package's source; renders in a notebook."""

    def _repr_markdown_(self) -> str:
        return f"`{self.file}`\n\n```diff\n{self.code}\n```"

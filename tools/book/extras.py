"""What a notebook's chapter adds to its pages: known mistakes with their hints, and proofs with their source."""

import importlib
import importlib.util
import inspect
import re
from html import escape
from types import ModuleType
from typing import Any

from nbconvert.filters import Highlight2HTML, markdown2html

CHECK = re.compile(r"^(?:check|build)_\w+(?=\()", re.MULTILINE)


def room(stem: str, kind: str) -> ModuleType | None:
    """The module called ``kind`` of a notebook's chapter; None if it has none."""
    package = f"ddpm_lesson.lesson.ch{stem}"
    if importlib.util.find_spec(package) and importlib.util.find_spec(f"{package}.{kind}"):
        return importlib.import_module(f"{package}.{kind}")
    return None


def mistakes_of(stem: str, source: str) -> str:
    """The known mistakes of the exercise, or the stages of the build, that a cell checks, folded; HTML with LaTeX."""
    found = CHECK.search(source)
    rooms = (room(stem, kind) for kind in ("exercises", "builds")) if found else ()
    check = next((vars(r)[found[0]] for r in rooms if r and found[0] in vars(r)), None)
    if check is None:
        return ""
    if hasattr(check, "mistakes"):
        title, items = "Known mistakes, each with its hints", [(m.name, *m.words) for m in check.mistakes]
    else:
        title = "What it is asked to do, stage by stage, with hints"
        items = [(s.judge.__name__.replace("_", " "), "", s.hint, s.stronger) for s in check.stages]
    folded = "".join(hints(*item) for item in items)
    return f'<details class="mistakes"><summary>{title}</summary>{folded}</details>' if items else ""


def hints(name: str, looks: str, hint: str, stronger: str) -> str:
    """One mistake: what it looks like, then a hint, then a stronger one, each folded into the one before."""
    more = f"<details><summary>A stronger hint</summary>{markdown2html(stronger)}</details>" if stronger else ""
    folded = f"<details><summary>A hint</summary>{markdown2html(hint)}{more}</details>"
    return f"<details><summary>{escape(name)}</summary>{markdown2html(looks) if looks else ''}{folded}</details>"


def proofs_of(stem: str) -> list[dict[str, Any]]:
    """Every numbered equation of a chapter: its number, its statement in LaTeX, and the source of its proof."""
    from ddpm_lesson.lesson.kit.proof import ProofBook

    proofs = room(stem, "proofs")
    books = [thing for thing in vars(proofs).values() if isinstance(thing, ProofBook)] if proofs else []
    colour = Highlight2HTML()
    return [
        {
            "number": number,
            "statement": f"${equation.statement}$",
            "how": equation.how,
            "tolerance": f"{equation.tolerance:g}",
            "source": colour(inspect.getsource(equation.error), "python"),
            "file": equation.error.__module__.replace(".", "/") + ".py",
            "line": inspect.getsourcelines(equation.error)[1],
        }
        for book in books[:1]
        for number, equation in book.equations.items()
    ]

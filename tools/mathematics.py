"""LaTeX as the notebooks write it -> HTML and MathML, by KaTeX while the book is made, so that pages need no script."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

KATEX = Path(__file__).parent / "book" / "look" / "katex" / "katex.min.js"
MATH = re.compile(
    r"\$\$(?P<display>.+?)\$\$|(?P<whole>\\begin\{(?P<name>\w+\*?)\}.+?\\end\{(?P=name)\})|(?<!\\)\$(?P<inline>[^$]+)\$",
    re.DOTALL,
)
TAG = re.compile(r"\\tag\{([^{}]*)\}")
NUMBERED = re.compile(r"\\begin\{(align|gather|equation)\*?\}")  # may hold tags of its own
COLOUR = re.compile(r"(?<=[\";])color:(#\w+)")


@contextmanager
def typesetter() -> Iterator[Callable[[str], str]]:
    """A function that turns text with formulas into HTML, for as long as the context lasts.

    Raises:
        ValueError: (the function) if a formula holds what KaTeX, and so Colab, does not know.
    """
    from py_mini_racer import MiniRacer

    with MiniRacer() as javascript:
        javascript.eval(KATEX.read_text(encoding="utf-8") + ";0")
        yield lambda text: typeset(text, javascript.eval)


def typeset(text: str, run: Callable[[str], str]) -> str:
    """HTML for ``text``; ``run`` evaluates JavaScript that knows KaTeX."""
    parts, end = [], 0
    for match in MATH.finditer(text):
        parts.append(escape(text[end : match.start()], quote=False))
        if match["inline"]:
            parts.append(formula(match["inline"], run, display=False))
        else:
            parts.append(equation(match["display"] or match["whole"], run))
        end = match.end()
    return "".join([*parts, escape(text[end:], quote=False)])


def equation(latex: str, run: Callable[[str], str]) -> str:
    """A displayed formula in a box of its own; links lead to ``eq-2.3`` for ``\\tag{2.3}``."""
    tags = TAG.findall(latex)
    number = ""
    if tags and not NUMBERED.search(latex):
        latex = TAG.sub("", latex)
        number = f'<span class="number">({tags[0]})</span>'
    targets = "".join(f'<span id="eq-{tag}"></span>' for tag in tags)
    box = f'<span class="scroll">{wide_and_narrow(latex, run)}</span>'
    return f'<span class="equation">{targets}{box}{number}</span>'


def wide_and_narrow(latex: str, run: Callable[[str], str]) -> str:
    """A displayed formula; with reasons beside its lines, and again with the reasons under them, for small screens."""
    wide = formula(latex, run, display=True)
    if "&&" not in latex or NUMBERED.search(latex):
        return wide
    under = formula(latex.replace("&&", r"\\[-.15em] & \quad\footnotesize"), run, display=True)
    return f'<span class="wide">{wide}</span><span class="narrow">{under}</span>'


def formula(latex: str, run: Callable[[str], str], *, display: bool) -> str:
    """One formula; its colours become ``--ink``, which the style sheet fits to the light and the dark page."""
    from py_mini_racer import JSEvalException

    options = {"displayMode": display, "throwOnError": True, "strict": "error"}
    try:
        html = run(f"katex.renderToString({json.dumps(latex.strip())}, {json.dumps(options)})")
    except JSEvalException as error:
        reason = re.search(r"KaTeX parse error: (.*)|LaTeX-incompatible.*", str(error))
        raise ValueError(f"cannot typeset {latex.strip()!r}: {reason[0] if reason else error}") from None
    return COLOUR.sub(r"--ink:\1", html)

"""Every notebook is stored as a reader should find it. (``pytest --nbval notebooks`` runs them.)"""

import re
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LAST = "15_beyond_ddpm"  # of the series: nothing comes next
TAG = re.compile(r"\\tag\{(.*?)\}")
CITED = re.compile(r"\((\d+\.[1-9]\d?)\)")
FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$]+\$|^\\begin\{.+?\\end\{[a-z*]+\}", re.DOTALL | re.MULTILINE)
REPR = re.compile(r"<[\w.]+[ >]|Figure\(|Picture\(|\w+\.\w+ object at")
LOCAL = re.compile(r"(?:^|[\s'\"(=])(?:/(?:home|Users|root|tmp|work|mnt|opt|usr|var|content)/|[A-Z]:\\)|localhost")
NOT_EVERYWHERE = {  # LaTeX that JupyterLab, GitHub, Colab or the book cannot show, and what to write instead
    r"\\(label|eqref|ref)\b": r"\tag{n.m} and (n.m) in the text",
    r"\\(bm|pmb)\b": r"\boldsymbol or \mathbf",
    r"\\arg(min|max)\b": r"\operatorname*{arg\,min}",
    r"\\(coloneqq|vcentcolon)\b": r"\mathrel{:=}",
    r"\\(cancel|bcancel|xcancel)\b": r"\underbrace or a sentence",
    r"\\(mathllap|mathrlap|mathclap|rlap|llap)\b": r"\quad",
    r"\\(newcommand|def|DeclareMathOperator|definecolor)\b": r"\operatorname{...} or the formula itself",
    r"\\(text)?color\[": r"{\color{#0072B2}{...}}",
    r"(?<!\{)\\color\b": r"{\color{#0072B2}{...}}, in braces, or what follows is coloured too",
    r"\\text\{[^{}]*\$": r"\text{...} x_0 \text{...}",
    r"\\(href|class|cssId|style|require|html\w+)\b": "a Markdown link",
    r"\\\(|\\\[(?!\d)": "$...$ and $$...$$",
}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook):
    """The Markdown cells without their code, in which a # is no heading and a $ no formula."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [re.sub(r"^```.*?^```|`[^`\n]+`", "", cell, flags=re.DOTALL | re.MULTILINE) for cell in cells]


def prose(notebook):
    return "\n\n".join(texts(notebook))


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def formulas(notebook):
    return FORMULA.findall(prose(notebook))


def test_is_valid(notebook):
    nbformat.validate(notebook)


def test_is_small(notebook):
    assert len(nbformat.writes(notebook)) < 1_500_000


def test_names_its_kernel_and_keeps_no_widget_state(notebook):
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata


def test_holds_one_clean_run(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not [o for o in outputs(notebook) if o.output_type == "error" or o.get("name") == "stderr"]


def test_holds_no_dead_widgets(notebook):
    assert not [o for o in outputs(notebook) if any("widget" in kind for kind in o.get("data", {}))]


def test_outputs_name_nobodys_machine(notebook):
    shown = [text for output in outputs(notebook) for text in words(output)]
    assert not [text for text in shown if LOCAL.search(text)]


def words(output):
    """What an output says, without its pictures."""
    return [output.get("text", ""), *(text for kind, text in output.get("data", {}).items() if "image/p" not in kind)]


def test_starts_with_its_title_time_needs_and_objectives(notebook):
    assert notebook.cells[0].cell_type == "markdown"
    first = notebook.cells[0].source
    assert re.match(r"# \S.*\n\n\S", first)  # the title, then the promise
    assert re.search(r"\*\*Time:?\*\*.*\d+ minutes", first)
    assert re.search(r"\*\*You need:?\*\*", first)
    assert re.search(r"^After this notebook you can.*\n\n?- ", first, re.MULTILINE)


def test_has_one_title(notebook):
    assert len(re.findall(r"^# ", prose(notebook), re.MULTILINE)) == 1


def test_headings_count_from_one(notebook):
    headings = re.findall(r"^## +(.*)", prose(notebook), re.MULTILINE)
    assert headings.pop() == "Key takeaways"
    assert headings
    numbers = [re.match(r"(\d+)\. ", heading) for heading in headings]
    assert all(numbers), headings
    assert [int(number[1]) for number in numbers] == list(range(1, len(headings) + 1))


def test_ends_with_what_to_keep_and_what_comes_next(notebook, path):
    end = re.split(r"^## Key takeaways$", prose(notebook), flags=re.MULTILINE)[-1]
    assert re.search(r"^- ", end, re.MULTILINE)
    assert path.stem == LAST or re.search(r"^\*\*Next\b", end, re.MULTILINE)


def test_no_backslash_was_swallowed(notebook):
    """``"\\bar"`` in a script that writes a cell is a control character and ``ar``."""
    assert not [cell.source for cell in notebook.cells if re.search(r"[\x00-\x08\x0b-\x1f]", cell.source)]


def test_words_come_before_code(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert ("code", "code") not in list(pairwise(kinds))


def test_code_cells_are_short(notebook):
    lines = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in code_cells(notebook)]
    assert median(lines) < 10


def test_every_picture_says_in_words_what_it_shows(notebook):
    alts = re.findall(r"!\[(.*?)\]\(", prose(notebook))
    alts += [alt(image) for image in re.findall(r"<img\b[^>]*>", prose(notebook))]
    for output in outputs(notebook):
        data = output.get("data", {})
        alts += [alt(image) for image in re.findall(r"<img\b[^>]*>", data.get("text/html", ""))]
        if {"image/png", "image/jpeg", "image/svg+xml"} & set(data):
            alts.append(data.get("text/plain", ""))
    assert not [alt for alt in alts if len(alt) < 10 or REPR.match(alt)]


def alt(image):
    found = re.search(r'\balt="([^"]*)"', image)
    return found[1] if found else ""


def test_links_lead_to_files(notebook, path):
    links = re.findall(r"\]\(([^)#\s]+)|\b(?:href|src)=\"([^\"#]+)", prose(notebook))
    local = [one or other for one, other in links if not re.match("https?:|data:|mailto:", one or other)]
    assert not [link for link in local if not (path.parent / link).exists()]


def test_mathematics_shows_in_every_viewer(notebook):
    wrong = [
        f"{formula}: write {instead}"
        for formula in formulas(notebook)
        for pattern, instead in NOT_EVERYWHERE.items()
        if re.search(pattern, formula)
    ]
    assert not wrong


def test_equations_carry_the_number_of_their_notebook(notebook, path):
    assert not [tag for tag in TAG.findall(prose(notebook)) if not re.fullmatch(rf"{part(path)}\.\d+", tag)]


def test_every_equation_number_is_given_once():
    tags = [tag for path in NOTEBOOKS for tag in TAG.findall(prose(nbformat.read(path, as_version=4)))]
    assert sorted(tags) == sorted(set(tags))


def test_numbers_in_the_text_are_those_of_equations():
    proses = {part(path): prose(nbformat.read(path, as_version=4)) for path in NOTEBOOKS}
    tags = {tag for text in proses.values() for tag in TAG.findall(text)}
    cited = {number for text in proses.values() for number in CITED.findall(FORMULA.sub("", text))}
    assert not {number for number in cited - tags if int(number.split(".")[0]) in proses}


def part(path):
    return int(path.stem.split("_")[0])

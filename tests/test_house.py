"""The house: what imports what, what stands where, and what the project promises about itself."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ddpm_lesson

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ddpm_lesson"
LESSON = PACKAGE / "lesson"
CHAPTERS = sorted(path.name for path in LESSON.glob("ch*"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ROOMS = [  # of the library, from the ground up
    *("runtime", "schedule", "diffusion", "unet", "data", "sample", "bound", "flow", "train"),
    *("checkpoint", "exchange", "pictures", "evaluate", "doctor", "run", "cli"),
]
EXCEPTIONS: dict[tuple[str, str], str] = {  # (chapter, chapter that it imports): why
    ("ch13_your_own_ddpm", chapter): "it is put together of what the earlier ones have the learner build"
    for chapter in CHAPTERS
    if "ch02" <= chapter < "ch13" and chapter != "ch08_down_up_middle"  # whose build is no piece
}
EARLY = {("ch07_attention_block", "ch09_unet"): "the whole is drawn before its blocks are named"}  # notebook, chapter
SLOW = ["torch", "torchvision", "sklearn", "accelerate", "torchmetrics", "matplotlib", "ipywidgets", "IPython", "sympy"]


def read(path: Path) -> str:
    """The text of a file."""
    return path.read_text(encoding="utf-8")


def imports(code: str) -> set[str]:
    """Every module that is imported anywhere in the code, and every name that comes from one, dotted."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(place: Path) -> list[Path]:
    """The file of a room, or the files of one that is a folder."""
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def imported(places: list[Path]) -> set[str]:
    """All that a few files import from the project, without its name in front."""
    names = {name for place in places for name in imports(read(place))}
    return {name.removeprefix("ddpm_lesson.") for name in names if name.startswith("ddpm_lesson.")}


def code_of(notebook: Path) -> str:
    """All code of a notebook."""
    cells = json.loads(read(notebook))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def lengths(code: str) -> dict[str, int]:
    """The lines of every function without its name, arguments and docstring."""
    functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]
    bodies = {f"{f.name}, line {f.lineno}": f.body[ast.get_docstring(f) is not None :] or f.body for f in functions}
    return {name: body[-1].end_lineno - body[0].lineno + 1 for name, body in bodies.items()}


@pytest.mark.parametrize("wing", ["ddpm_lesson", "tests", "tools"])
def test_no_function_has_more_than_forty_lines(wing):
    """Beside ruff's rule about statements, of which a long one counts once."""
    long = {path: lengths(read(path)) for path in (ROOT / wing).rglob("*.py")}
    assert [(path.name, name, n) for path, functions in long.items() for name, n in functions.items() if n > 40] == []


def leaves_encoding_open(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding that the system likes, which is cp1252 on Windows."""
    name, words = getattr(call.func, "attr", getattr(call.func, "id", "")), {word.arg for word in call.keywords}
    if name in ("read_text", "write_text"):
        return "encoding" not in words and len(call.args) == (name == "write_text")
    if name != "open" or not words <= {"mode", "newline", "errors", "buffering"}:
        return False
    given = [getattr(node, "value", None) for node in (*call.args, *(word.value for word in call.keywords))]
    modes = [value for value in given if isinstance(value, str) and re.fullmatch("[rwax][bt+]*", value)]
    return "b" not in modes[0] if modes else len(call.args) == isinstance(call.func, ast.Name)


@pytest.mark.parametrize("wing", ["ddpm_lesson", "tests", "tools"])
def test_text_is_read_and_written_in_an_encoding_that_is_said(wing):
    """Ruff's PLW1514, still a preview, knows a path only where its type is plain to see."""
    nodes = ((path.name, node) for path in (ROOT / wing).rglob("*.py") for node in ast.walk(ast.parse(read(path))))
    calls = ((name, node) for name, node in nodes if isinstance(node, ast.Call))
    assert [(name, call.lineno) for name, call in calls if leaves_encoding_open(call)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_the_library_import_only_rooms_below(room):
    below = set(ROOMS[: ROOMS.index(room)]) | {room, "__version__"}
    assert {name.split(".")[0] for name in imported(files(PACKAGE / room))} <= below


def test_every_room_of_the_library_is_in_the_house():
    names = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {name for name in names if not name.startswith("__")} - {"assets", "lesson"} == set(ROOMS)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_imports_the_library_the_kit_and_itself(chapter):
    lesson = {name.split(".")[1] for name in imported(files(LESSON / chapter)) if name.startswith("lesson.")}
    allowed = {other for one, other in EXCEPTIONS if one == chapter}
    assert lesson - {"kit", chapter} == allowed


def test_the_kit_imports_no_chapter():
    assert not [name for name in imported(files(LESSON / "kit")) if name.startswith("lesson.ch")]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_the_library_the_kit_and_its_own_chapter(notebook):
    names = {name.removeprefix("ddpm_lesson.lesson.") for name in imports(code_of(notebook)) if ".lesson." in name}
    own = f"ch{notebook.stem}"
    allowed = {other for one, other in EARLY if one == own}
    assert {name.split(".")[0] for name in names} - {"kit", own} == allowed


def test_every_notebook_has_its_chapter():
    assert [f"ch{path.stem}" for path in NOTEBOOKS] == CHAPTERS


def users(module: str) -> set[Path]:
    """The files of the package that import a module."""
    return {path for path in PACKAGE.rglob("*.py") if any(name.startswith(module) for name in imports(read(path)))}


def test_widgets_are_made_in_panels_only():
    kit = {LESSON / "kit" / "panel.py", LESSON / "kit" / "dashboard.py"}  # the second: the controls of a live run
    assert users("ipywidgets") <= {*kit, *LESSON.glob("ch*/panels.py")}


def test_figures_are_drawn_in_plots_only():
    kit = {LESSON / "kit" / name for name in ("figure.py", "curves.py", "diagram.py", "images.py")}
    assert users("matplotlib") <= {PACKAGE / "pictures.py", *kit, *LESSON.glob("ch*/plots.py")}


def test_init_files_list_names_and_do_nothing_else():
    allowed = (ast.ImportFrom, ast.Expr, ast.Assign)
    for path in set(PACKAGE.rglob("__init__.py")) - {PACKAGE / "__init__.py"}:  # which loads its names late
        body = ast.parse(read(path)).body
        assert ast.get_docstring(ast.Module(body, [])), path
        assert all(isinstance(node, allowed) for node in body), path


def loaded_by(*modules: str) -> list[str]:
    """Which of the slow libraries are there after these imports, in a process of their own."""
    code = f"import importlib, sys\nfor m in {modules}: importlib.import_module(m)\nprint(sorted(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return [name for name in SLOW if name in ast.literal_eval(shown)]


def test_importing_the_package_loads_nothing_before_it_is_asked_for():
    assert loaded_by("ddpm_lesson") == []
    assert set(dir(ddpm_lesson)) >= set(ddpm_lesson.__all__)
    with pytest.raises(AttributeError, match="'ddpm_lesson' has no attribute 'nonsense'"):
        ddpm_lesson.nonsense  # noqa: B018


def test_importing_the_rooms_pulls_in_nothing_slow():
    assert loaded_by("ddpm_lesson.train", "ddpm_lesson.sample") == ["torch"]


def test_importing_the_lesson_computes_nothing():
    rooms = [path for path in LESSON.glob("ch*/**/*.py") if path.stem not in ("__init__", "plots", "panels")]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in rooms]
    assert set(loaded_by(*modules)) <= {"torch", "matplotlib", "IPython"}


def test_public_names_exist():
    assert [name for name in ddpm_lesson.__all__ if not hasattr(ddpm_lesson, name)] == []


# What the README says


def test_the_example_of_the_readme_runs():
    code = re.search(r"```python\n(.*?)```", read(ROOT / "README.md"), re.DOTALL).group(1)
    names = {}
    exec(code, names)
    assert names["t"] == 49  # the last of 20 evenly spaced times
    assert names["x0_hat"].shape == (4, 1, 28, 28)


def lines(*places: Path) -> int:
    """Lines of Python below a few places."""
    return sum(len(read(file).splitlines()) for place in places for file in files(place))


def test_the_readme_says_how_much_there_is_to_read():
    text = read(ROOT / "README.md")
    rows = re.findall(r"^\| \[`([\w./]+)`\]\(ddpm_lesson/\1\) \|.*\| ([\d,]+) \|$", text, re.MULTILINE)
    sizes = {name: int(number.replace(",", "")) for name, number in rows}
    assert sizes
    real = {name: lines((PACKAGE / name.strip("/")).with_suffix("")) for name in sizes}
    assert {
        name: (sizes[name], real[name]) for name in sizes if abs(sizes[name] - real[name]) > 5 + 0.03 * real[name]
    } == {}


PAGES = ["README.md", "CONTRIBUTING.md", "assets/README.md"]
MADE = (".venv/", "build/", "book/", "runs/", "samples/", "pipelines/")  # by commands
THEIRS = ("MNIST/", "cifar10-jpeg/", "my/", "test/", "google/", "bits/")  # data, models, and bits/dim


def test_links_of_the_readme_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", read(ROOT / "README.md")) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def named(page: str) -> set[str]:
    """The files and folders that the code on a page names, modules among them as files."""
    code = " ".join(re.findall(r"```.*?```|`[^`\n]+`", read(ROOT / page), re.DOTALL))
    modules = {name.replace(".", "/") + ".py" for name in re.findall(r"\b(?:tests|tools)(?:\.\w+)+\b(?![/.]\w)", code)}
    paths = re.findall(r"(?<![\w./~<:=-])(?:\.?[\w-]+/)+[\w.-]*(?![\w/<*])", code)
    return modules | {path for path in paths if not path.startswith((*MADE, *THEIRS))}


@pytest.mark.parametrize("page", PAGES)
def test_files_named_on_a_page_are_there(page):
    places = (ROOT, (ROOT / page).parent, PACKAGE, LESSON)
    names = named(page)
    assert names
    assert [name for name in names if not any((place / name).exists() for place in places)] == []

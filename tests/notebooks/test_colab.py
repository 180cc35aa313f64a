"""The badge and the installing cell for Google Colab, on copies of the notebooks."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import types
from itertools import chain, pairwise
from pathlib import Path

import ipywidgets as widgets
import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import Image

from ddpm_lesson.lesson.kit.figure import picture
from ddpm_lesson.lesson.kit.panel import Panel
from tools import colab, drive_panels

ROOT = Path(__file__).parents[2]
TARGET = ["--repo=someone/ddpm_lesson", "--tag=v1.0"]


@pytest.fixture
def folder(tmp_path):
    """A copy of the notebooks, without badges even if those of the project have some."""
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, tmp_path)
    colab.main(["--notebooks", str(tmp_path), "--remove"])
    return tmp_path


@pytest.fixture
def make_colab(folder):
    """``make_colab("--repo=...", ...)`` runs the command on the copy and returns every file's bytes by name."""

    def run(*arguments):
        colab.main(["--notebooks", str(folder), *arguments])
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    return run


def cells_of(files):
    return {name: nbformat.reads(text.decode(), as_version=4).cells for name, text in files.items()}


def install_cell(source=None):
    """The source of the installing cell of a small notebook."""
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_markdown_cell("Text")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    colab.set_up(notebook, "00.ipynb", "someone/ddpm_lesson", "v1.0", source=source)
    return notebook.cells[2].source


# What it writes


def test_every_notebook_gets_its_own_link_after_its_title(make_colab):
    for name, cells in cells_of(make_colab(*TARGET)).items():
        alt, link = re.search(r"\[!\[(.+?)\]\(https://\S+\.svg\)\]\((\S+)\)", cells[1].source).groups()
        assert alt == "Open in Colab"
        path = f"someone/ddpm_lesson/blob/v1.0/notebooks/{name}"
        assert link == f"https://colab.research.google.com/github/{path}"
        assert cells[0].source.startswith("# ")


def test_notebooks_stay_as_their_readers_need_them(make_colab):
    for cells in cells_of(make_colab(*TARGET)).values():
        kinds = [cell.cell_type for cell in cells]
        counts = [cell.execution_count for cell in cells if cell.cell_type == "code"]
        assert ("code", "code") not in list(pairwise(kinds))
        assert counts == list(range(1, len(counts) + 1))
        for cell in cells:
            results = [o.execution_count for o in cell.get("outputs", []) if o.output_type == "execute_result"]
            assert all(count == cell.execution_count for count in results)


def test_the_cells_are_valid_and_other_cells_are_untouched(make_colab, folder):
    before = cells_of(make_colab("--remove"))
    after = cells_of(make_colab(*TARGET))
    for name, cells in after.items():
        nbformat.validate(nbformat.read(folder / name, as_version=4))
        assert [c.source for c in cells[:1] + cells[3:]] == [c.source for c in before[name]]
        assert len({cell.id for cell in cells}) == len(cells)


def test_a_second_run_changes_nothing(make_colab):
    assert make_colab(*TARGET) == make_colab(*TARGET)


def test_another_tag_replaces_the_first(make_colab):
    make_colab(*TARGET)
    files = make_colab("--repo=other/fork", "--tag=v2.0")
    for name, text in files.items():
        assert text.count(b"colab-badge.svg") == 1
        assert b"someone/ddpm_lesson" not in text
        assert f"/github/other/fork/blob/v2.0/notebooks/{name}".encode() in text
        assert b"git+https://github.com/other/fork@v2.0" in text


def test_remove_gives_back_every_byte(make_colab):
    before = make_colab("--remove")
    assert make_colab(*TARGET) != before
    assert make_colab("--remove") == before


def test_a_notebook_without_a_stored_run_stays_uncounted():
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_markdown_cell("Text")]
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("1 + 1")])
    colab.set_up(notebook, "00.ipynb", "someone/ddpm_lesson", "v1.0")
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code"] == [None, None]
    colab.take_out(notebook)
    assert [c.source for c in notebook.cells] == ["# Title", "Text", "1 + 1"]


# What the cell does


@pytest.fixture
def pip(monkeypatch):
    """Records the commands that the installing cell runs; ``pip.returncode`` decides how they end."""
    pip = types.SimpleNamespace(commands=[], returncode=0, stderr="no such tag")

    def run(command, **options):
        pip.commands.append(command)
        return pip

    monkeypatch.setattr(subprocess, "run", run)
    return pip


@pytest.fixture
def in_colab(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))


def test_outside_colab_the_cell_does_nothing(pip, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    exec(install_cell(), {})
    assert pip.commands == []
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("in_colab")
def test_in_colab_the_cell_installs_the_tag_without_dependencies(pip, capsys):
    exec(install_cell(), {})
    [command] = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert "--no-deps" in command
    assert command[-1] == "git+https://github.com/someone/ddpm_lesson@v1.0"
    assert tuple(command[-3:-1]) == colab.LACKING
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("Installed git+https://github.com/someone/ddpm_lesson@v1.0")


@pytest.mark.usefixtures("in_colab")
def test_an_installation_that_fails_stops_with_what_pip_said(pip, capsys):
    pip.returncode = 1
    with pytest.raises(RuntimeError, match="no such tag"):
        exec(install_cell(), {})
    assert capsys.readouterr().out == ""


def test_another_source_can_be_installed():
    assert 'source = "git+file:///some/clone@here"' in install_cell("git+file:///some/clone@here")


# What Colab has


def requirements(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if re.match(r"[\w-]+[=<>!~]=", line)]


def test_colab_has_what_the_package_requires():
    pins = {r.name: str(r.specifier).strip("=") for r in requirements("tools/colab_versions.txt")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [project["optional-dependencies"][name] for name in ("plots", "evaluate", "lesson")]
    wanted = {r.name: r.specifier for r in map(Requirement, chain(project["dependencies"], *extras))}
    del wanted[project["name"]]  # the lesson names the other extras
    assert {"torch", "matplotlib", "torchmetrics", "ipywidgets"} <= set(wanted)
    lacking = {name for name, range_ in wanted.items() if name not in pins or Version(pins[name]) not in range_}
    brought = {r.name: r.specifier for r in map(Requirement, colab.LACKING)}
    assert lacking == {"jupyterlab", "torchmetrics"}  # Colab has a front end of its own, and the cell brings the other
    assert brought["torchmetrics"] == wanted["torchmetrics"]


def test_what_the_cell_brings_needs_nothing_that_colab_lacks():
    pins = {r.name for r in requirements("tools/colab_versions.txt")}
    brought = [Requirement(text).name for text in colab.LACKING]
    for name in brought:
        needs = [Requirement(text) for text in importlib.metadata.requires(name)]
        plain = {need.name.replace("_", "-") for need in needs if need.marker is None}
        assert plain <= pins | set(brought)


# What make colab-test does with panels


def stripes(words=None, **values):
    """A picture, and words unless given, that no two sets of values share."""
    text = repr(sorted(values.items()))
    return picture(Image.frombytes("L", (len(text), 1), text.encode()), alt=words or text)


CONTROLS = {
    "whole": (widgets.IntSlider(0, 0, 9), 1),
    "real": (widgets.FloatSlider(1.0, min=0, max=1, step=0.1), 0.9),
    "log": (widgets.FloatLogSlider(1e-2, base=10, min=-4, max=-2, step=0.5), 10**-2.5),
    "range": (widgets.IntRangeSlider(value=(2, 5), min=0, max=9), (3, 5)),
    "list": (widgets.Dropdown(options=["a", "b"]), "b"),
    "stops": (widgets.SelectionSlider(options=[("one", 1), ("two", 2)]), 2),
    "tick": (widgets.Checkbox(value=False), True),
}


@pytest.mark.parametrize(("control", "first"), CONTROLS.values(), ids=CONTROLS)
def test_every_kind_of_control_is_moved_and_put_back(control, first):
    start = control.value
    assert drive_panels.neighbours(control)[0] == pytest.approx(first)
    panel = Panel("What happens?", stripes, control=control)
    before = drive_panels.shown(panel)
    assert drive_panels.answers(panel, control)
    assert control.value == start
    assert drive_panels.shown(panel) == before


DEAD = {
    "nothing": lambda control: stripes(),
    "only picture": lambda control: stripes("the same", control=control),
    "only words": lambda control: stripes(f"position {control}"),
}


@pytest.mark.parametrize("draw", DEAD.values(), ids=DEAD)
def test_a_control_that_does_not_change_both_picture_and_words_is_dead(draw):
    control = widgets.IntSlider(0, 0, 9)
    assert not drive_panels.answers(Panel("What happens?", draw, control=control), control)


def only_at_the_start(control):
    if control:
        raise ValueError(f"control must be 0; got {control}")
    return stripes(control=control)


def test_a_control_that_only_makes_the_panel_refuse_is_dead():
    control = widgets.IntSlider(0, 0, 9)
    assert not drive_panels.answers(Panel("What happens?", only_at_the_start, control=control), control)


def test_panels_are_found_and_dead_controls_named():
    panel = Panel("What happens?", lambda a, b: stripes(b=b), a=widgets.IntSlider(), b=widgets.IntSlider())
    assert panel in drive_panels.living_panels()
    assert drive_panels.drive([panel]) == {
        "panels": [panel.box.model_id],
        "controls": 2,
        "dead": ["a of <b>What happens?</b>"],
    }


# Mistakes


@pytest.mark.parametrize("arguments", [[], ["--repo=someone/ddpm_lesson"], ["--tag=v1.0"]])
def test_without_a_target_one_sentence_says_how(make_colab, arguments):
    with pytest.raises(SystemExit, match=r"^REPO and TAG must say .* make colab REPO=owner/name TAG=v1\.0"):
        make_colab(*arguments)


@pytest.mark.parametrize(
    "repo", ["ddpm_lesson", "https://github.com/someone/ddpm_lesson", "a/b/c", "a b/c", "a/b?", "/b"]
)
def test_malformed_repository_is_refused(make_colab, repo):
    with pytest.raises(SystemExit, match=f"^REPO must be owner/name.*got '{re.escape(repo)}'$"):
        make_colab(f"--repo={repo}", "--tag=v1.0")


@pytest.mark.parametrize("tag", ["v 1", "v1..2", "-v1", "v1/", 'v1"', "v1#egg", "v1@2", "v1.lock", "v1\n"])
def test_malformed_tag_is_refused(make_colab, tag):
    with pytest.raises(SystemExit, match=f"^TAG must be the name of a tag.*got {re.escape(repr(tag))}$"):
        make_colab("--repo=someone/ddpm_lesson", f"--tag={tag}")


def test_nothing_is_written_when_one_notebook_does_not_fit(make_colab, folder):
    before = make_colab("--remove")
    odd = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell("1")])
    nbformat.write(odd, folder / "zz.ipynb")
    with pytest.raises(SystemExit, match=r"^zz\.ipynb must begin with a title and another text cell"):
        make_colab(*TARGET)
    (folder / "zz.ipynb").unlink()
    assert make_colab("--remove") == before

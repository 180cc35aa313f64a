"""Every notebook is stored as a reader should find it. (``pytest --nbval notebooks`` runs them.)"""

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


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


def test_has_one_title_and_says_how_long_it_takes(notebook):
    text = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert len(re.findall(r"^# ", "\n".join(text), re.MULTILINE)) == 1
    assert re.search(r"\d+ minutes", text[0])


def test_words_come_before_code(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert ("code", "code") not in list(pairwise(kinds))

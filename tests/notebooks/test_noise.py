"""No notebook judges images by the noise that they were drawn from."""

import contextlib
import io
from pathlib import Path

import nbformat
import pytest
import torch

from tests.lesson.noises import watched

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_is_judged_by_the_noise_that_it_came_from(path, monkeypatch):
    """All cells of a notebook in one process, as its kernel runs them, with an eye on every noise."""
    monkeypatch.chdir(path.parent)
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    names = {"display": lambda *_: None}
    with torch.random.fork_rng(), contextlib.redirect_stdout(io.StringIO()), watched() as watch:
        for i, source in enumerate(cells):
            exec(compile(source, f"{path.stem}[{i}]", "exec"), names)
    assert not watch.leaks
    assert not watch.trained & watch.judged

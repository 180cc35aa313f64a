"""Stored pictures of panels: which are chosen, and that only what has changed is drawn anew."""

from math import prod

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook

from tools.book import frames
from tools.book.frames import frames_of, grid, stored, thinned

PANEL = """from PIL import Image
from ddpm_lesson.lesson.kit.figure import picture
from ddpm_lesson.lesson.kit.panel import Panel, choice, slider

def show_grey(top):
    def draw(grey, name):
        if name == "never":
            raise ValueError("no such picture")
        return picture(Image.new("L", (8, 4 + (name == "b")), grey), f"grey {grey} {name}")
    return Panel("How grey?", draw, grey=slider("grey", 0, top, 3), name=choice("name", ["a", "b", "never"]))
"""


@st.composite
def panels(draw):
    sizes = draw(st.lists(st.integers(2, 60), min_size=1, max_size=4))
    return sizes, tuple(draw(st.integers(0, size - 1)) for size in sizes), draw(st.integers(2 * len(sizes) + 1, 200))


@given(panels())
def test_a_grid_holds_the_start_every_offered_stop_and_no_more_than_it_may(panel):
    sizes, start, n = panel
    offered, cells = grid(sizes, start, n)
    assert start in cells
    assert len(cells) <= n
    for k, kept in enumerate(offered):
        assert {(*start[:k], i, *start[k + 1 :]) for i in kept} <= cells
        assert len(kept) >= 2
        assert all({at[k] for at in cells} <= set(kept) for k, kept in enumerate(offered))
    if prod(sizes) <= n:
        assert len(cells) == prod(sizes)


def test_a_grid_has_combinations_away_from_the_start():
    _, cells = grid([40, 40], (0, 0), 100)
    assert sum(all(at) for at in cells) > 30


@given(st.integers(2, 100), st.data())
def test_thinned_stops_keep_the_start_and_the_ends(size, data):
    here, n = data.draw(st.integers(0, size - 1)), data.draw(st.integers(3, 100))
    kept = thinned(range(size), here, n)
    assert len(kept) == len(set(kept)) == min(n, size)
    assert {0, here, size - 1} <= set(kept)


def write(path, call):
    nbformat.write(new_notebook(cells=[new_code_cell(PANEL), new_code_cell(call)]), path)
    return path


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    return write(tmp_path_factory.mktemp("notebooks") / "00_grey.ipynb", "show_grey(5)")


@pytest.fixture(scope="module")
def store(notebook, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    frames_of([notebook], folder, jobs=1)
    return folder


def test_every_combination_is_stored_with_its_own_words(notebook, store):
    (panel,) = stored(notebook, store).values()
    assert panel["question"] == "How grey?"
    assert [control["start"] for control in panel["controls"]] == [3, 0]
    assert panel["controls"][0]["stops"] == ["0", "1", "2", "3", "4", "5"]
    assert len(panel["frames"]) == 12
    for at, (name, words) in panel["frames"].items():
        grey, which = map(int, at.split(","))
        assert words == f"grey {grey} {'ab'[which]}"
        assert (store / f"{name}.webp").exists()


def test_a_combination_that_the_panel_refuses_is_left_out_and_said(notebook, store):
    (panel,) = stored(notebook, store).values()
    assert panel["refused"] == ["no such picture"] * 6


def test_what_has_not_changed_is_not_drawn_again(notebook, store, monkeypatch):
    monkeypatch.setattr(frames, "draw", lambda *_: pytest.fail("drawn again"))
    frames_of([notebook], store)


def test_another_value_in_the_notebook_is_drawn(store, tmp_path):
    assert stored(write(tmp_path / "00_grey.ipynb", "show_grey(5)"), store)
    assert stored(write(tmp_path / "00_grey.ipynb", "show_grey(6)"), store) is None


def test_a_change_in_the_kit_is_drawn(notebook, store, monkeypatch, tmp_path):
    kit = tmp_path / "ddpm_lesson" / "lesson" / "kit"
    kit.mkdir(parents=True)
    monkeypatch.setattr(frames, "ROOT", tmp_path)
    assert stored(notebook, store) is None  # what it imported reads otherwise here


def test_a_notebook_that_fails_is_named(tmp_path):
    path = tmp_path / "00_broken.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0"), new_code_cell("show_nothing()")]), path)
    with pytest.raises(RuntimeError, match=r"(?s)00_broken\.ipynb.*division by zero"):
        frames_of([path], tmp_path / "store")

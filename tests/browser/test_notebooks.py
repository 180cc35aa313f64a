"""Every notebook runs in a real JupyterLab, and every control of every panel answers keys and mouse.

Notebooks and panels are found by themselves: a panel is what ``ddpm_lesson.panels.show_...`` returns.
"""

import re

import nbformat
import pytest
from playwright.sync_api import expect

from .conftest import NOTEBOOKS
from .pages import CONTROLS, PICTURE, alt_when_still, errors, key_for

NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_and_its_panels_answer(open_notebook, name, tmp_path):
    page = open_notebook(name)
    try:
        assert errors(page) == []
        panels = page.locator(".ddpm-panel")
        expect(panels).to_have_count(len(re.findall(r"\bshow_\w+\(", code_of(name))), timeout=30_000)
        for panel in panels.all():
            check_panel(page, panel)
        assert errors(page) == []
    except Exception as error:
        page.screenshot(path=tmp_path / "failure.png", full_page=True)
        error.add_note(f"what the page looked like: {tmp_path / 'failure.png'}")
        raise


def code_of(name):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def check_panel(page, panel):
    panel.locator("img").wait_for()
    controls = panel.locator(CONTROLS).all()
    assert controls
    for control in controls:
        check_label(control)
        check_key(page, panel, control)
        check_drag(page, panel, control)


def check_label(control):
    label = control.locator("xpath=ancestor::*[contains(@class, 'widget-inline-hbox')][1]").locator(".widget-label")
    assert label.first.inner_text().strip()


def check_key(page, panel, control):
    """One key: another picture, other words, the same height."""
    image = panel.locator("img")
    control.focus()
    before, height = image.evaluate(PICTURE), panel.bounding_box()["height"]
    assert len(before["alt"]) > 20
    page.keyboard.press(key_for(control))
    expect(image).not_to_have_attribute("alt", before["alt"], timeout=30_000)
    after = image.evaluate(PICTURE)
    assert after["picture"] != before["picture"]
    assert after["height"] == before["height"]
    assert panel.bounding_box()["height"] == height


def check_drag(page, panel, handle):
    """Drag quickly to and fro: what is shown at the end belongs to the value at the end."""
    track = handle.locator("xpath=ancestor::*[contains(@class, 'noUi-target')][1]")
    handle.scroll_into_view_if_needed()
    start, box = handle.bounding_box(), track.bounding_box()
    y = start["y"] + start["height"] / 2
    page.mouse.move(start["x"] + start["width"] / 2, y)
    page.mouse.down()
    for share in (0.2, 0.5, 0.8, 0.4, 0.7):
        page.mouse.move(box["x"] + share * box["width"], y, steps=2)
    page.mouse.up()
    dragged = alt_when_still(page, panel, pause_ms=600)  # a kernel that works off many moves is idle between them
    handle.focus()
    page.keyboard.press("ArrowLeft")
    assert alt_when_still(page, panel) != dragged
    page.keyboard.press("ArrowRight")
    assert alt_when_still(page, panel) == dragged

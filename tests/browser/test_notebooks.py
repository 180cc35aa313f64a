"""Every notebook runs in a real JupyterLab, and every control of every panel changes its picture."""

import re

import nbformat
import pytest
from playwright.sync_api import expect

from .conftest import NOTEBOOKS

PICTURE = "img => ({ src: img.src, alt: img.alt, height: img.getBoundingClientRect().height })"
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells
    .flatMap(cell => cell.outputs ?? [])
    .filter(output => output.output_type === 'error')
    .map(output => output.ename + ': ' + output.evalue)"""


@pytest.mark.parametrize("name", sorted(p.name for p in NOTEBOOKS.glob("*.ipynb")))
def test_notebook_runs_and_its_panels_answer_the_keyboard(open_notebook, name, tmp_path):
    page = open_notebook(name)
    try:
        assert page.evaluate(ERRORS) == []
        panels = page.locator(".ddpm-panel")
        expect(panels).to_have_count(len(re.findall(r"\bshow_\w+\(", sources(name))), timeout=30_000)
        for panel in panels.all():
            check_panel(page, panel)
    except Exception:
        page.screenshot(path=tmp_path / "failure.png")
        raise


def sources(name):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def check_panel(page, panel):
    image = panel.locator("img")
    image.wait_for()
    controls = panel.locator(".noUi-handle, select, input").all()
    assert controls
    for control in controls:
        before = image.evaluate(PICTURE)
        assert before["alt"]
        control.focus()
        page.keyboard.press("ArrowRight" if control.get_attribute("role") == "slider" else "ArrowDown")
        expect(image).not_to_have_attribute("src", before["src"], timeout=30_000)
        after = image.evaluate(PICTURE)
        assert after["alt"] != before["alt"]
        assert after["height"] == before["height"]

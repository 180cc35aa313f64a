"""A real JupyterLab on localhost and the system's Chromium."""

import pytest

from tools import lab
from tools.lab import NOTEBOOKS

__all__ = ["NOTEBOOKS"]


@pytest.fixture(scope="session")
def chromium():
    path = lab.find_chromium()
    if path is None:
        pytest.skip(lab.INSTALL)
    return path


@pytest.fixture(scope="session")
def browser(chromium):
    with lab.open_browser(chromium) as browser:
        yield browser


@pytest.fixture(scope="session")
def jupyterlab(chromium):
    """The address of a JupyterLab that serves a copy of the notebooks."""
    with lab.serve_notebooks() as address:
        yield address


@pytest.fixture
def open_notebook(browser, jupyterlab):
    """A function that opens a notebook by name, in a workspace of its own, and runs all its cells."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def open_and_run(name):
        page = context.new_page()
        lab.open_and_run(page, jupyterlab, name)
        return page

    yield open_and_run
    for page in context.pages:
        lab.close(page)
    context.close()

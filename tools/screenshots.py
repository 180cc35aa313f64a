"""Look at notebooks in a real JupyterLab: ``python -m tools.screenshots [NOTEBOOK ...]``.

Every notebook is run from top to bottom and photographed from top to bottom, in the light and in the dark theme, into
``screenshots/<notebook>_<theme>_<slice>.png``.
"""

import sys
from pathlib import Path

from playwright.sync_api import Page

from tools.lab import INSTALL, NOTEBOOKS, find_chromium, open_and_run, open_browser, serve_notebooks

OUT = NOTEBOOKS.parent / "screenshots"
VIEW = {"width": 1280, "height": 1660}  # leaves about 1600 pixels to the notebook
SCROLLER = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer"
HEIGHT = """outer => {
    const last = [...outer.querySelectorAll('.jp-Cell')].at(-1).getBoundingClientRect();
    return Math.ceil(last.bottom - outer.getBoundingClientRect().top + outer.scrollTop);
}"""
STATE = f"""() => {{
    const all = name => [...document.querySelectorAll(name)];
    const drawn = all('.ddpm-panel').every(panel => panel.querySelector('img')?.complete);
    const state = [document.querySelector('{SCROLLER}').scrollHeight, all('mjx-container').length, drawn];
    return state.join();
}}"""


def photograph(page: Page, stem: str) -> int:
    """Save slices of the notebook that is open in ``page``, in both themes; returns how many."""
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    n_slices = 0
    for theme in ("Light", "Dark"):
        page.evaluate(f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})")
        page.wait_for_function(f"document.body.dataset.jpThemeName === 'JupyterLab {theme}'")
        settle(page)
        n_slices += save_slices(page, f"{stem}_{theme.lower()}")
    return n_slices


def settle(page: Page) -> None:
    """Wait until every panel has its picture and nothing has moved for a second, but no longer than a minute."""
    before = None
    for _ in range(60):
        now = page.evaluate(STATE)
        if now == before and now.endswith("true"):
            return
        before = now
        page.wait_for_timeout(1000)


def save_slices(page: Page, name: str) -> int:
    """Scroll through the notebook and save what is seen; returns how many files."""
    scroller = page.locator(SCROLLER)
    box, total = scroller.bounding_box(), scroller.evaluate(HEIGHT)
    step = int(box["height"])
    tops = range(0, total, step)
    for i, top in enumerate(tops):
        scrolled = scroller.evaluate("(outer, top) => { outer.scrollTop = top; return outer.scrollTop; }", top)
        page.wait_for_timeout(200)
        seen = top - scrolled  # of the last slice, what the one before it shows
        clip = {"x": box["x"], "y": box["y"] + seen, "width": box["width"], "height": min(step - seen, total - top)}
        page.screenshot(path=OUT / f"{name}_{i:02}.png", clip=clip)
    return len(tops)


def main(names: list[str]) -> None:
    """Photograph the notebooks of these names, or all."""
    chromium = find_chromium()
    if chromium is None:
        sys.exit(INSTALL)
    stems = [Path(name).stem for name in names] or sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    if missing := [stem for stem in stems if not (NOTEBOOKS / f"{stem}.ipynb").exists()]:
        sys.exit(f"there is no notebook {', '.join(missing)} in {NOTEBOOKS}")
    OUT.mkdir(exist_ok=True)
    with serve_notebooks() as address, open_browser(chromium) as browser:
        for stem in stems:
            for old in OUT.glob(f"{stem}_*.png"):
                old.unlink()
            page = browser.new_page(viewport=VIEW)
            open_and_run(page, address, f"{stem}.ipynb")
            print(f"{stem}: {photograph(page, stem)} pictures in {OUT}")
            page.close()


if __name__ == "__main__":
    main(sys.argv[1:])

"""From a key press to the new picture in the page, for every panel: ``python -m tests.benchmarks.panel_latency``.

A real JupyterLab and Chromium, one notebook after the other. For comparison, the same schedule explorer is written the
usual way, with ``interact`` and a new matplotlib figure each time, and measured in the same run.
"""

import re
import tempfile
from pathlib import Path

import click
import nbformat
import numpy as np
from playwright.sync_api import Page

from ddpm_lesson.pictures import markdown_table
from tests.browser.pages import CONTROLS, key_for
from tools import lab

NAIVE = """
import matplotlib.pyplot as plt
import torch
from ddpm_lesson import DenoiseDiffusion, NoiseSchedule, load_images
from ipywidgets import FloatLogSlider, interact

image = load_images("digits", "test")[0]

@interact(beta_end=FloatLogSlider(0.02, min=-5, max=-0.05, step=0.05))
def explore(beta_end):
    schedule = NoiseSchedule.linear(1000, 1e-4, max(beta_end, 1e-4))
    times = torch.linspace(0, 999, 9).long()
    eps = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).expand(9, 1, 8, 8)
    diffusion = DenoiseDiffusion(torch.nn.Identity(), schedule=schedule)
    xt = diffusion.q_sample(image.expand(9, 1, 8, 8), times, eps)
    fig = plt.figure(figsize=(8.8, 4.2))
    for i, values in enumerate((schedule.beta, schedule.alpha_bar, schedule.snr_db)):
        fig.add_subplot(2, 3, i + 1).plot(values)
    for i in range(9):
        fig.add_subplot(2, 9, 10 + i).imshow(xt[i, 0], cmap="gray")
    plt.show()
"""
WATCH = """element => {
    const clock = window.latency = {pressed: 0, shown: 0, src: element.querySelector('img').src};
    document.addEventListener('keydown', () => { clock.pressed = performance.now(); }, true);
    new MutationObserver(async () => {
        const img = element.querySelector('img');
        if (!img || img.src === clock.src) return;
        clock.src = img.src;
        await img.decode();
        requestAnimationFrame(() => { clock.shown = performance.now(); });
    }).observe(element, {childList: true, subtree: true, attributes: true});
}"""
SHOWN = "() => window.latency.shown > window.latency.pressed"
TOOK = "() => window.latency.shown - window.latency.pressed"


def press_keys(page: Page, element, n: int) -> list[float]:
    """Milliseconds from key to picture, for ``n`` keys spread over the sliders of a panel, after one that warms up."""
    element.locator("img").first.wait_for()
    element.evaluate(WATCH)
    times = []
    for slider in element.locator(CONTROLS).all():
        for i in range(1 + -(-n // element.locator(CONTROLS).count())):
            slider.focus()
            page.wait_for_timeout(100)  # a reader's finger, and the page at rest
            page.keyboard.press(key_for(slider) if i % 2 == 0 else "ArrowLeft")
            page.wait_for_function(SHOWN, polling=10)
            if i:
                times.append(page.evaluate(TOOK))
    return times


def measure(page: Page, address: str, name: str, panel: str, n: int) -> list[list[float]]:
    """Times for every element ``panel`` of a notebook."""
    lab.open_and_run(page, address, name)
    page.locator(panel).first.wait_for()
    times = [press_keys(page, element, n) for element in page.locator(panel).all()]
    lab.close(page)
    return times


def write_naive(folder: Path) -> None:
    """A notebook with the panel as it is usually written."""
    cells = [nbformat.v4.new_code_cell(NAIVE)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "naive.ipynb")


def panels_of(path: Path) -> list[str]:
    """Names of the panels that a notebook shows, in order."""
    code = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    return re.findall(r"\b(show_\w+)\(", code)


@click.command()
@click.option("--presses", default=30, show_default=True, help="Keys for each panel.")
def main(presses: int) -> None:
    """Print a table of latencies."""
    chromium = lab.find_chromium()
    if chromium is None:
        raise click.ClickException(lab.INSTALL)
    with tempfile.TemporaryDirectory() as folder:
        write_naive(Path(folder))
        with lab.serve_notebooks(Path(folder)) as address, lab.open_browser(chromium) as browser:
            naive = measure(browser.new_page(), address, "naive.ipynb", ".widget-interact", presses)[0]
    with lab.serve_notebooks() as address, lab.open_browser(chromium) as browser:
        rows = [row("`interact`, a new figure each time", naive, naive)]
        for path in sorted(lab.NOTEBOOKS.glob("*.ipynb")):
            times = measure(browser.new_page(), address, path.name, ".ddpm-panel", presses)
            rows += [row(f"{path.stem[:2]} `{n}`", t, naive) for n, t in zip(panels_of(path), times, strict=True)]
    print(markdown_table(["panel", "keys", "median ms", "95th percentile ms", "of `interact`"], rows))


def row(name: str, times: list[float], naive: list[float]) -> tuple[str, ...]:
    """One line of the table."""
    median, p95 = np.percentile(times, (50, 95))
    return name, str(len(times)), f"{median:.0f}", f"{p95:.0f}", f"{median / np.median(naive):.2f}"


if __name__ == "__main__":
    main()

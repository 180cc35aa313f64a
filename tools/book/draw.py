"""Draw the frames of a notebook's panels: ``python -m tools.book.draw NOTEBOOK STORE``; one process for each notebook.

The notebook runs from top to bottom, and every panel that a cell ends with is asked for its pictures over a grid of
its controls. What comes out is a file ``STORE/NOTEBOOK.json`` and a WebP file for each picture.
"""

import argparse
import io
import json
import os
import sys
import time
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import nbformat

from tools.book.frames import FRAMES, PANEL, ROOT, SECONDS, WEIGHT, footprint, grid


def draw_notebook(path: Path, store: Path) -> None:
    """Run a notebook as far as its last panel, and store the frames of all of them.

    Raises:
        RuntimeError: if a cell fails.
    """
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    panels = {cell.id: draw_panel(panel, store) for cell, panel in run(path, cells)}
    files = {Path(m.__file__).resolve() for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
    ours = sorted(str(file.relative_to(ROOT)) for file in files if file.is_relative_to(ROOT / "ddpm_lesson"))
    found = {"files": ours, "key": footprint(path, ours), "panels": panels}
    (store / f"{path.stem}.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


def run(path: Path, cells: list[Any]) -> Any:
    """Every panel of a notebook with its cell, as soon as the cell has made it."""
    from IPython.core.interactiveshell import InteractiveShell

    from ddpm_lesson.lesson.kit.panel import Panel

    os.chdir(path.parent)
    shell = InteractiveShell.instance(colors="nocolor")
    last = max((i for i, cell in enumerate(cells) if PANEL.search(cell.source)), default=-1)
    for cell in cells[: last + 1]:
        result = shell.run_cell(cell.source, silent=False)
        if not result.success:
            raise RuntimeError(f"{path.name}: cell {cell.id} fails: {result.error_in_exec or result.error_before_exec}")
        if isinstance(result.result, Panel):
            yield cell, result.result


def draw_panel(panel: Any, store: Path) -> dict[str, Any]:
    """Draw a panel over the grid that its budget allows; returns what the page needs to know of it."""
    controls = list(panel.controls.values())
    places = [stops(control) for control in controls]
    start = tuple(here for _, here in places)
    sizes = [len(values) for values, _ in places]

    def frame(at: tuple[int, ...]) -> list[str]:
        shown = panel.draw(**{n: values[i] for n, (values, _), i in zip(panel.controls, places, at, strict=True)})
        return [keep(shown.image(), store), shown.alt]

    begin = time.process_time()
    first = frame(start)
    again = [frame(at) for at in neighbours(start, sizes)]
    seconds = (time.process_time() - begin) / (1 + len(again))
    weight = max((store / f"{name}.webp").stat().st_size for name, _ in [first, *again])
    affordable = min(FRAMES, int(WEIGHT / weight))
    n = max(2 * len(sizes) + 1, min(affordable, int(SECONDS / seconds)))
    offered, cells = grid(sizes, start, n)
    frames, refused = {}, []
    for at in sorted(cells):
        try:
            frames[",".join(str(kept.index(i)) for kept, i in zip(offered, at, strict=True))] = frame(at)
        except Exception as error:  # a live panel says so and keeps its last picture; here another one is near
            refused.append(str(error))
    return {
        "question": panel.box.children[0].value.removeprefix("<b>").removesuffix("</b>"),
        "size": [panel.picture.width, panel.picture.height],
        "controls": [
            {"label": c.description, "stops": [text(c, values[i]) for i in kept], "start": kept.index(here)}
            for c, (values, here), kept in zip(controls, places, offered, strict=True)
        ],
        "frames": frames,
        "possible": prod(sizes),
        "slow": n < min(affordable, prod(sizes)),
        "seconds": seconds,
        "refused": refused,
    }


def neighbours(start: tuple[int, ...], sizes: list[int]) -> list[tuple[int, ...]]:
    """One stop beside the start for every control."""
    beside = [i + 1 if i + 1 < size else i - 1 for i, size in zip(start, sizes, strict=True)]
    return [(*start[:k], i, *start[k + 1 :]) for k, i in enumerate(beside)]


def keep(image: Any, store: Path) -> str:
    """Store a picture under a name that follows from its content; returns the name."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, method=2)
    name = sha256(buffer.getvalue()).hexdigest()[:16]
    (store / f"{name}.webp").write_bytes(buffer.getvalue())
    return name


def stops(control: Any) -> tuple[list[Any], int]:
    """All values that a control can take, and the place of the present one."""
    if hasattr(control, "options"):
        return [o[1] if isinstance(o, tuple) else o for o in control.options], control.index
    n = int((control.max - control.min) / control.step + 1e-6) + 1
    values = [control.min + i * control.step for i in range(n)]
    if hasattr(control, "base"):
        values = [control.base**exponent for exponent in values]
    kind = type(control.value)
    here = min(range(n), key=lambda i: abs(values[i] - control.value))
    values[here] = control.value
    return [kind(value) if kind is int else round(value, 12) for value in values], here


def text(control: Any, value: Any) -> str:
    """A value as the notebook shows it beside the slider."""
    if hasattr(control, "options"):
        named = [o[0] for o in control.options if isinstance(o, tuple) and o[1] == value]
        return str(named[0] if named else value)
    return f"{value:{control.readout_format}}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("store", type=Path)
    arguments = parser.parse_args()
    arguments.store.mkdir(parents=True, exist_ok=True)
    draw_notebook(arguments.notebook.resolve(), arguments.store.resolve())

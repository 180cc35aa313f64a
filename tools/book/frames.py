"""Which pictures of a panel the book stores, and which of them have to be drawn anew."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[2]
STORE = ROOT / "build" / "book"
PANEL = re.compile(r"^\s*(?:\w+ = )?(?:panels\.)?(?:show|choose)_\w+\(", re.MULTILINE)  # a cell that ends with one
FRAMES, WEIGHT, SECONDS = 160, 1_000_000, 40.0  # the budget of a panel: pictures, bytes, time to draw


def grid(sizes: Sequence[int], start: Sequence[int], n: int) -> tuple[list[list[int]], set[tuple[int, ...]]]:
    """Which stops of its controls a panel offers in the book, and which of their combinations are stored.

    All of them if they are at most ``n``. Otherwise a star, every offered stop of each control with the others at the
    start, for half of ``n``, and a coarse grid of all combinations for the rest.

    Args:
        sizes: number of stops of each control.
        start: where each begins.
        n: pictures that the budget allows, at least 2 for each control and one more.
    """
    everything = [list(range(size)) for size in sizes]
    if prod(sizes) <= n:
        return everything, set(product(*everything))
    rays = n if len(sizes) == 1 else max(n // 2, 2 * len(sizes) + 1)
    most = max(k for k in range(2, max(sizes) + 1) if sum(min(s, k) - 1 for s in sizes) < rays)
    offered = [thinned(all_stops, here, most) for all_stops, here in zip(everything, start, strict=True)]
    star = {(*start[:k], i, *start[k + 1 :]) for k, kept in enumerate(offered) for i in kept}
    return offered, star | coarse(offered, start, star, n)


def coarse(
    offered: Sequence[list[int]], start: Sequence[int], star: set[tuple[int, ...]], n: int
) -> set[tuple[int, ...]]:
    """The finest grid of combinations that has room beside the star, refined one control after the other."""
    levels, best = [1] * len(offered), set()
    growing = True
    while growing:
        growing = False
        for k in range(len(levels)):
            finer = [level + (i == k) for i, level in enumerate(levels)]
            kept = [thinned(o, here, level) for o, here, level in zip(offered, start, finer, strict=True)]
            cells = set(product(*kept))
            if finer[k] <= len(offered[k]) and len(cells | star) <= n:
                levels, best, growing = finer, cells, True
    return best


def thinned(stops: Sequence[int], here: int, n: int) -> list[int]:
    """``n`` of the stops at even distances, ``here`` among them, and both ends if there are three or more."""
    if n >= len(stops):
        return list(stops)
    if n == 1:
        return [here]
    kept = [stops[round(i * (len(stops) - 1) / (n - 1))] for i in range(n)]
    movable = range(1, n - 1) if n > 2 else range(n)
    if here not in kept:
        kept[min(movable, key=lambda i: abs(kept[i] - here))] = here
    return sorted(kept)


def footprint(notebook: Path, files: Iterable[str]) -> str:
    """What the frames of a notebook follow from: its code, the files that it imports, weights and data, the budget."""
    cells = nbformat.read(notebook, as_version=4).cells
    parts = [cell.source.encode() for cell in cells if cell.cell_type == "code"]
    parts += [(ROOT / name).read_bytes() if (ROOT / name).exists() else b"" for name in sorted(files)]
    assets = sorted(path for path in (ROOT / "assets").rglob("*") if path.suffix in (".safetensors", ".json"))
    parts += [sha256(path.read_bytes()).digest() for path in assets]
    parts += [(Path(__file__).parent / name).read_bytes() for name in ("frames.py", "draw.py")]
    return sha256(b"\0".join(parts)).hexdigest()


def stored(notebook: Path, store: Path = STORE) -> dict[str, Any] | None:
    """The panels of a notebook by the ids of their cells, as drawn before; None if something has changed since."""
    file = store / f"{notebook.stem}.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return found["panels"] if found["key"] == footprint(notebook, found["files"]) else None


def frames_of(notebooks: Sequence[Path], store: Path = STORE, jobs: int = 2) -> dict[Path, dict[str, Any]]:
    """The panels of every notebook; those whose sources have changed are drawn, ``jobs`` notebooks at a time.

    Raises:
        RuntimeError: if a notebook fails; the message holds the end of what it said.
    """
    store.mkdir(parents=True, exist_ok=True)
    missing = [path for path in notebooks if stored(path, store) is None]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda path: draw(path, store), missing))
    return {path: stored(path, store) or {} for path in notebooks}


def draw(notebook: Path, store: Path) -> None:
    """Draw the frames of one notebook in a process of its own, with one thread."""
    command = [sys.executable, "-m", "tools.book.draw", str(notebook), str(store)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{notebook.name}: the frames of its panels cannot be drawn\n{done.stderr[-2000:]}")

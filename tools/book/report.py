"""What a book holds: panels, pictures and megabytes."""

from pathlib import Path

from tools.book.frames import FRAMES, SECONDS, STORE, WEIGHT, stored


def report(out: Path, store: Path = STORE) -> str:
    """A table of the pages with panels, the weight of the whole, and the panels that are too slow for their budget."""
    rows, faults = ["page: panels that move, pictures, MB"], []
    total = [0, 0]
    for notebook in sorted((out / "notebooks").glob("*.ipynb")):
        panels = stored(notebook, store) or {}
        names = {name for panel in panels.values() for name, _ in panel["frames"].values()}
        weight = sum((out / "frames" / f"{name}.webp").stat().st_size for name in names)
        total = [total[0] + len(panels), total[1] + len(names)]
        rows.append(f"{notebook.stem}: {len(panels)}, {len(names)}, {weight / 1e6:.1f}")
        for panel in panels.values():
            place = f"{notebook.stem}, {panel['question']}"
            if panel["slow"]:
                faults.append(f"too slow for its budget, so fewer stops are stored: {place}")
            if panel["refused"]:
                faults.append(f"{len(panel['refused'])} combinations are refused ({panel['refused'][0]}): {place}")
    whole = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    budget = f"a panel may hold {FRAMES} pictures of {WEIGHT / 1e6:.1f} MB together that take {SECONDS:.0f} s to draw"
    rows.append(f"in all: {total[0]} panels, {total[1]} pictures; the book has {whole / 1e6:.1f} MB ({budget})")
    return "\n".join([*rows, *faults])

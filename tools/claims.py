"""Measure every claim of the notebooks anew and write down what was found: ``python -m tools.claims [07 ...]``."""

import datetime
import importlib
import json
import sys
from pathlib import Path

import torch

from ddpm_lesson.lesson.kit.claim import RECORD, Claim, ClaimBook

LESSON = Path(__file__).parents[1] / "ddpm_lesson" / "lesson"
THREADS = (1, 2)  # a number that hangs on them is no claim


def books(parts: list[str]) -> dict[str, ClaimBook]:
    """The claims of some notebooks, or of all."""
    chapters = [path.parent.name for path in sorted(LESSON.glob("ch*/claims.py"))]
    chosen = [name for name in chapters if not parts or name[2:4] in parts]
    return {name[2:4]: importlib.import_module(f"ddpm_lesson.lesson.{name}.claims").BOOK for name in chosen}


def forget() -> None:
    """Empty the caches of the lesson, or what one number of threads found would be told of the next."""
    for name, module in list(sys.modules.items()):
        if name.startswith("ddpm_lesson.lesson"):
            for value in vars(module).values():
                getattr(value, "cache_clear", lambda: None)()


def found_by(book: ClaimBook) -> dict[str, list[float]]:
    """What the claims of a book find, for every number of threads and every seed."""
    values: dict[str, list[float]] = {name: [] for name in book.claims}
    for n in THREADS:
        torch.set_num_threads(n)
        forget()
        for name, claim in book.claims.items():
            values[name] += claim.found()
            said = "holds" if claim.holds(values[name]) else "FAILS"
            print(f"{book.part:02d}, {n} threads", said, name, claim.band(), values[name], flush=True)
    return values


def entry(claim: Claim, values: list[float]) -> dict[str, object]:
    """What the record says of a claim."""
    return {
        "values": [float(f"{value:.4g}") for value in values],
        "seeds": list(claim.seeds),
        "threads": list(THREADS),
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "holds": claim.holds(values),
    }


def main() -> int:
    """Measure, print a line a claim, store; 1 if one does not hold."""
    holds = True
    for part, book in books(sys.argv[1:]).items():
        found = {name: entry(book.claims[name], values) for name, values in found_by(book).items()}
        holds = holds and all(one["holds"] for one in found.values())
        record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
        record[part] = found
        RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n", encoding="utf-8")
    return not holds


if __name__ == "__main__":
    sys.exit(main())

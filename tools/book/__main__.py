"""Write the notebooks as a static site: ``python -m tools.book [FOLDER]``."""

import argparse
import time
from pathlib import Path

from tools.book import build
from tools.book.frames import STORE
from tools.book.living import prepare
from tools.book.report import report

parser = argparse.ArgumentParser(prog="python -m tools.book", description="Write the notebooks as a static site.")
parser.add_argument("folder", nargs="?", type=Path, default=Path("book"), help="of the book (default: %(default)s)")
parser.add_argument("--jobs", type=int, default=2, help="notebooks drawn at the same time (default: %(default)s)")
parser.add_argument("--repo", default="", help="owner/name on GitHub: pages then open their notebooks in Google Colab")
parser.add_argument("--tag", default="main", help="of that repository (default: %(default)s)")
arguments = parser.parse_args()
start = time.perf_counter()
repo = f"https://colab.research.google.com/github/{arguments.repo}/blob/{arguments.tag}/notebooks"
try:
    living = prepare()
except LookupError as error:
    living = None
    print(f"The page with the living model is left out: {error}")
pages = build(
    arguments.folder.resolve(), store=STORE, jobs=arguments.jobs, colab=repo if arguments.repo else "", living=living
)
print(report(arguments.folder))
print(f"{len(pages)} pages in {(time.perf_counter() - start) / 60:.1f} minutes. Open {arguments.folder / 'index.html'}")

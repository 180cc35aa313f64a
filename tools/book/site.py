"""All pages of the book, and what lies beside them."""

import json
import re
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from tools.book import frames
from tools.book.extras import proofs_of
from tools.book.living import add_living_model
from tools.book.writer import LOOK, TEMPLATES, Page, Site, Writer, page_name, tags
from tools.mathematics import typesetter

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
BOOK = "How diffusion models work"


def build(
    out: Path,
    notebooks: Path = NOTEBOOKS,
    *,
    store: Path | None = None,
    jobs: int = 2,
    colab: str = "",
    living: Path | None = None,
) -> list[Path]:
    """Write a page for every notebook, and the contents; returns the files of the pages.

    Args:
        out: folder of the book; an earlier book in it is replaced.
        notebooks: folder of the notebooks.
        store: where drawn pictures are kept from one build to the next; with None, panels do not move.
        jobs: notebooks whose panels are drawn at the same time.
        colab: where Google Colab finds the notebooks, if it does.
        living: folder of the model that runs in a page, from ``living.prepare``; None leaves that page out.

    Raises:
        ValueError: if a notebook was not run, links to what is not there or holds mathematics that cannot be typeset,
            or if ``out`` holds something else than a book, which would be lost.
    """
    if out.exists() and any(out.iterdir()) and not (out / "katex").exists():
        raise ValueError(f"out must be a new folder or that of an earlier book; {out} holds other files")
    paths = sorted(path.resolve() for path in notebooks.glob("[0-9]*.ipynb"))
    with_panels = [path for path in paths if has_panel(path)]
    panels = {path.stem: found for path, found in frames.frames_of(with_panels, store, jobs).items()} if store else {}
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(LOOK, out, ignore=shutil.ignore_patterns("*.j2", "katex.min.js", "conf.json", "README.md"))
    if store:
        copy_frames(panels, store, out)
    with typesetter() as typeset:
        pages = write_pages(paths, Site(out, typeset, panels=panels, colab=colab, living=living))
    if living:
        add_living_model(living, out)
    write_search(pages, out)
    return [out / page.file for page in pages]


def has_panel(path: Path) -> bool:
    """Whether a notebook shows a panel."""
    return any(
        cell.cell_type == "code" and frames.PANEL.search(cell.source)
        for cell in nbformat.read(path, as_version=4).cells
    )


def copy_frames(panels: dict[str, dict[str, Any]], store: Path, out: Path) -> None:
    """Bring along every picture that a panel shows."""
    (out / "frames").mkdir()
    named = {name for of in panels.values() for panel in of.values() for name, _ in panel["frames"].values()}
    for name in named:
        shutil.copyfile(store / f"{name}.webp", out / "frames" / f"{name}.webp")


def write_pages(paths: list[Path], site: Site) -> list[Page]:
    """The pages of notebooks and proofs, and the contents."""
    numbered = {path: nbformat.read(path, as_version=4) for path in paths}
    proofs = {path: proofs_of(path.stem) for path in paths}
    for path, notebook in numbered.items():
        site.equations |= {tag: page_name(path) for tag in tags(notebook)}
        site.proofs |= {p["number"]: f"{proofs_page(path)}#proof-{p['number']}" for p in proofs[path]}
        (site.out / "notebooks").mkdir(exist_ok=True)
        nbformat.write(without_outputs(notebook), site.out / "notebooks" / path.name)
    pages = [Writer(path, notebook, site).page() for path, notebook in numbered.items()]
    promise = re.search(r"^\*\*(.+)\*\*$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    common = {"book": BOOK, "promise": promise, "pages": pages, "living": site.living}
    write(site.out / "index.html", "contents.html.j2", common)
    if site.living:
        write(site.out / "living.html", "living.html.j2", common)
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        write(site.out / page.file, "page.html.j2", common | {"page": page, "previous": before, "next": after})
    for (path, found), page in zip(proofs.items(), pages, strict=True):
        if found:
            typeset = [proof | {"statement": site.typeset(proof["statement"])} for proof in found]
            write(site.out / proofs_page(path), "proofs.html.j2", common | {"page": page, "proofs": typeset})
    return pages


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """A copy of a notebook for those who will run it themselves; a tenth of the bytes."""
    clean = deepcopy(notebook)
    for cell in clean.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return clean


def proofs_page(path: Path) -> str:
    """The file of the proofs of a notebook's equations."""
    return f"proofs_{path.stem.split('_')[0]}.html"


def write(file: Path, template: str, values: dict[str, Any]) -> None:
    """Fill in a template."""
    file.write_text(TEMPLATES.get_template(template).render(values), encoding="utf-8")


def write_search(pages: list[Page], out: Path) -> None:
    """What the search looks into: a script that is loaded when somebody searches."""
    found = [
        [page.file, place, page.plain_title, heading, words]
        for page in pages
        for place, heading, words in page.sections
    ]
    data = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    (out / "search_index.js").write_text(f"searchIndex({data})", encoding="utf-8")

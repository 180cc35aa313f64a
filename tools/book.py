"""Write the notebooks as a static site: ``python -m tools.book [FOLDER]``.

The pages need no network, no script and no kernel: mathematics is set while they are written, and
the fonts lie beside them.
"""

import io
import re
import shutil
import sys
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup, NavigableString, Tag
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from PIL import Image

from tools.mathematics import TAG, typesetter

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
LOOK = Path(__file__).parent / "book"  # templates, style and fonts
KINDS = ["text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/latex", "text/plain"]
SUFFIX = {"image/png": ".png", "image/jpeg": ".jpg", "image/svg+xml": ".svg"}
VERBATIM = ["pre", "code", "script", "style", ".katex"]
PANEL = re.compile(r"^\s*(?:\w+ = )?(?:panels\.)?(?:show|choose)_\w+\(", re.MULTILINE)
MINUTES = re.compile(r"((?:\d+ ?(?:to|-|–) ?)?\d+) minutes")
REFERENCE = re.compile(r"\((\d+\.\d+)\)")


@dataclass
class Page:
    """One notebook as a page; ``title``, ``promise`` and ``body`` are HTML."""

    file: str
    number: str
    title: str
    plain_title: str
    promise: str
    minutes: str
    headings: list[tuple[str, str]]  # id and HTML of every H2
    body: str


def build(out: Path, notebooks: Path = NOTEBOOKS) -> list[Path]:
    """Write a page for every notebook, and the contents; returns the files of the pages.

    Raises:
        ValueError: if a notebook links to what is not there or holds mathematics that cannot be typeset, or if ``out``
            holds something else than a book, which would be lost.
    """
    if out.exists() and any(out.iterdir()) and not (out / "katex").exists():
        raise ValueError(f"out must be a new folder or that of an earlier book; {out} holds other files")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(LOOK, out, ignore=shutil.ignore_patterns("*.j2", "*.js", "conf.json", "README.md"))
    paths = sorted(notebooks.glob("[0-9]*.ipynb"))
    numbered = {path: nbformat.read(path, as_version=4) for path in paths}
    equations = {tag: page_name(path) for path, notebook in numbered.items() for tag in tags(notebook)}
    with typesetter() as typeset:
        pages = [Writer(path, notebook, equations, typeset, out).page() for path, notebook in numbered.items()]
    jinja = Environment(loader=FileSystemLoader(LOOK), trim_blocks=True, lstrip_blocks=True)
    promise = re.search(r"^\*\*(.+)\*\*$", (ROOT / "README.md").read_text(), re.MULTILINE)[1]
    common = {"book": "How diffusion models work", "promise": promise, "pages": pages}
    (out / "index.html").write_text(jinja.get_template("contents.html.j2").render(common))
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        html = jinja.get_template("page.html.j2").render(common, page=page, previous=before, next=after)
        (out / page.file).write_text(html)
    return [out / page.file for page in pages]


def page_name(path: Path) -> str:
    """The file of a notebook's page."""
    return path.with_suffix(".html").name


def tags(notebook: NotebookNode) -> list[str]:
    """The numbers of a notebook's equations."""
    return [tag for cell in notebook.cells if cell.cell_type == "markdown" for tag in TAG.findall(cell.source)]


class Writer:
    """Makes the page of one notebook.

    Args:
        path, notebook: the notebook.
        equations: the page of every numbered equation of the series.
        typeset: text with LaTeX -> HTML.
        out: folder of the site; pictures are written there.
    """

    def __init__(
        self,
        path: Path,
        notebook: NotebookNode,
        equations: dict[str, str],
        typeset: Callable[[str], str],
        out: Path,
    ):
        self.path, self.notebook, self.equations, self.set, self.out = path, notebook, equations, typeset, out
        self.n_pictures = 0

    def page(self) -> Page:
        """The page, ready for its template."""
        soup = BeautifulSoup(self.cells(), "html.parser")
        self.name_headings(soup)
        self.typeset(soup)
        self.link_equations(soup)
        self.link_files(soup)
        for table in soup("table"):
            table.wrap(soup.new_tag("div", attrs={"class": "scroll"}))
        title, number = soup.h1, self.path.stem.split("_")[0]
        words = re.sub(rf"^{int(number)}\W+|^{number}\W+", "", title.decode_contents())
        plain = plain_text(words)
        promise, minutes = title.find_next("p"), MINUTES.search(self.notebook.cells[0].source)
        headings = [(h["id"], h.decode_contents()) for h in soup("h2")]
        return Page(
            page_name(self.path), number, words, plain, str(promise), minutes[1] if minutes else "", headings, str(soup)
        )

    def cells(self) -> str:
        """All cells as HTML, mathematics still as LaTeX."""
        exporter = HTMLExporter(
            template_name=LOOK.name,
            extra_template_basedirs=[str(LOOK.parent)],
            exclude_anchor_links=True,
            filters={"img": self.picture, "is_panel": lambda source: bool(PANEL.search(source))},
        )
        exporter.config.NbConvertBase.display_data_priority = KINDS
        return exporter.from_notebook_node(self.notebook)[0]

    def picture(self, output: NotebookNode, kind: str) -> str:
        """An output's picture, written to a file, with the output's plain text as its alternative text."""
        data = output.data[kind]
        content = data.encode() if kind == "image/svg+xml" else b64decode(data)
        self.n_pictures += 1
        name = f"pictures/{self.path.stem}_{self.n_pictures}{SUFFIX[kind]}"
        write(self.out / name, content)
        return f'<img src="{name}" alt="{escape(output.data.get("text/plain", ""))}"{size(output, kind, content)}>'

    def name_headings(self, soup: BeautifulSoup) -> None:
        """Give headings the targets that they have in JupyterLab."""
        for heading in soup(["h1", "h2", "h3", "h4"]):
            heading["id"] = heading.get_text().strip().replace(" ", "-")

    def typeset(self, soup: BeautifulSoup) -> None:
        """Turn LaTeX in the text into MathML."""
        for text in prose(soup):
            if "$" in text or "\\begin{" in text:
                try:
                    text.replace_with(BeautifulSoup(self.set(text), "html.parser"))
                except ValueError as error:
                    raise ValueError(f"{self.path.name}: {error}") from None

    def link_equations(self, soup: BeautifulSoup) -> None:
        """Let ``(2.3)`` in the text lead to the equation of that number."""
        for text in prose(soup, "a", "h1", "h2", "h3", ".number"):
            linked = REFERENCE.sub(self.reference, escape(text, quote=False))
            if linked != escape(text, quote=False):
                text.replace_with(BeautifulSoup(linked, "html.parser"))

    def reference(self, match: re.Match) -> str:
        page = self.equations.get(match[1])
        return f'<a class="eq" href="{page}#eq-{match[1]}">{match[0]}</a>' if page else match[0]

    def link_files(self, soup: BeautifulSoup) -> None:
        """Lead links to other notebooks to their pages, and bring pictures along."""
        for link in soup("a", href=True):
            self.link_file(link)
        for image in soup("img"):
            if not urlsplit(image["src"]).scheme and not (self.out / image["src"]).exists():
                source = self.local(image["src"])
                image["src"] = f"pictures/{source.name}"
                write(self.out / image["src"], source.read_bytes())

    def link_file(self, link: Tag) -> None:
        """Lead one link to a page; what is no page, such as a source file, loses its link and keeps its words."""
        url = urlsplit(link["href"])
        if url.scheme or not url.path or (self.out / url.path).exists() or url.path in self.equations.values():
            return
        target = self.local(url.path)
        if target.suffix == ".ipynb":
            link["href"] = page_name(target) + (f"#{url.fragment}" if url.fragment else "")
        else:
            link.unwrap()

    def local(self, url: str) -> Path:
        """The file that a relative address in the notebook means.

        Raises:
            ValueError: if it is not there.
        """
        path = self.path.parent / unquote(url)
        if not path.exists():
            raise ValueError(f"{self.path.name}: there is no {url}")
        return path


def prose(soup: BeautifulSoup, *but: str) -> list[NavigableString]:
    """The pieces of text outside code, mathematics and the elements ``but`` (names, or classes with a dot)."""
    outside = {id(element) for element in soup.select(", ".join([*VERBATIM, *but]))}
    return [text for text in soup.find_all(string=True) if outside.isdisjoint(map(id, text.parents))]


def plain_text(html: str) -> str:
    """The words of ``html``, a formula as its symbols."""
    soup = BeautifulSoup(html, "html.parser")
    for twice in soup.select(".katex-html, annotation"):
        twice.decompose()
    return soup.get_text()


def size(output: NotebookNode, kind: str, content: bytes) -> str:
    """Width and height of a picture as attributes, so that the page does not jump while it loads."""
    if kind == "image/svg+xml":
        return ""
    stored: dict[str, Any] = output.get("metadata", {}).get(kind, {})
    width, height = Image.open(io.BytesIO(content)).size
    return f' width="{stored.get("width", width)}" height="{stored.get("height", height)}"'


def write(path: Path, content: bytes) -> None:
    """Write a file, and its folder first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "book").resolve()
    pages = build(folder)
    print(f"{len(pages)} pages and the contents. Open {folder / 'index.html'}")

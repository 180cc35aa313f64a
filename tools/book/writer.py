"""A notebook as a page of the book."""

import io
import json
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from bs4 import BeautifulSoup, NavigableString, Tag
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from PIL import Image

from tools.book.extras import mistakes_of
from tools.book.frames import PANEL
from tools.mathematics import TAG

LOOK = Path(__file__).parent / "look"  # templates, style, scripts and fonts
KINDS = ["text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/latex", "text/plain"]
VERBATIM = ["pre", "code", "script", "style", ".katex"]
MINUTES = re.compile(r"((?:\d+ ?(?:to|-|–) ?)?\d+) minutes")
REFERENCE = re.compile(r"\((\d+\.\d+)\)")
TWO_VALUES = re.compile(r"\s*[\d.,]+ \(\d+\.\d+\)\s*")  # in a table, such as a distance and how many floors it is
TEMPLATES = Environment(loader=FileSystemLoader(LOOK), trim_blocks=True, lstrip_blocks=True)
HEADINGS = ["h1", "h2", "h3", "h4"]


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
    sections: list[tuple[str, str, str]]  # id, heading and words of every section, for the search
    notebook: str  # its file in the book
    colab: str  # its address in Google Colab, if there is one
    proofs: str  # the page of its proofs, if there is one
    moves: bool  # whether there is a panel that moves
    body: str


@dataclass
class Site:
    """What the pages share.

    ``equations`` and ``proofs``: the page of every numbered equation, and of its proof. ``panels``: what was drawn, by
    notebook and cell. ``colab``: where Google Colab finds the notebooks; empty if nowhere. ``living``: the folder of
    the model that runs in a page.
    """

    out: Path
    typeset: Callable[[str], str]
    equations: dict[str, str] = field(default_factory=dict)
    proofs: dict[str, str] = field(default_factory=dict)
    panels: dict[str, dict[str, Any]] = field(default_factory=dict)
    colab: str = ""
    living: Path | None = None


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
        site: what the pages share.
    """

    def __init__(self, path: Path, notebook: NotebookNode, site: Site):
        self.path, self.notebook, self.site, self.out = path, notebook, site, site.out
        self.n_pictures = 0

    def page(self) -> Page:
        """The page, ready for its template."""
        self.check_run()
        soup = BeautifulSoup(self.cells(), "html.parser")
        self.name_headings(soup)
        self.typeset(soup)
        self.link_equations(soup)
        self.link_files(soup)
        self.link_proofs(soup)
        for table in soup("table"):
            table.wrap(soup.new_tag("div", attrs={"class": "scroll"}))
        title, number = soup.h1, self.path.stem.split("_")[0]
        words = re.sub(rf"^{int(number)}\W+|^{number}\W+", "", title.decode_contents())
        promise, minutes = title.find_next("p"), MINUTES.search(self.notebook.cells[0].source)
        headings = [(h["id"], h.decode_contents()) for h in soup("h2")]
        sections = sections_of(soup)
        self.add_anchors(soup)
        return Page(
            file=page_name(self.path),
            number=number,
            title=words,
            plain_title=plain_text(words),
            promise=str(promise),
            minutes=minutes[1] if minutes else "",
            headings=headings,
            sections=sections,
            notebook=f"notebooks/{self.path.name}",
            colab=f"{self.site.colab}/{self.path.name}" if self.site.colab else "",
            proofs=next(
                (self.site.proofs[tag].split("#")[0] for tag in tags(self.notebook) if tag in self.site.proofs), ""
            ),
            moves=bool(self.panels),
            body=str(soup),
        )

    @property
    def panels(self) -> dict[str, Any]:
        """The panels of this notebook that were drawn, by cell."""
        return self.site.panels.get(self.path.stem, {})

    def check_run(self) -> None:
        """Raise ValueError if a panel has left no picture, because the notebook was not run."""
        for cell in self.notebook.cells:
            if cell.cell_type == "code" and PANEL.search(cell.source) and not cell.outputs:
                raise ValueError(
                    f"{self.path.name}: cell {cell.id} must have been run; it shows nothing. "
                    f"Run it with: python tools/run_notebooks.py notebooks/{self.path.name}"
                )

    def cells(self) -> str:
        """All cells as HTML, mathematics still as LaTeX."""
        exporter = HTMLExporter(
            template_name=LOOK.name,
            extra_template_basedirs=[str(LOOK.parent)],
            exclude_anchor_links=True,
            filters={
                "img": self.picture,
                "is_panel": lambda source: bool(PANEL.search(source)),
                "panel": lambda cell: self.panels.get(cell.get("id", "")),
                "panel_html": self.panel,
                "mistakes": lambda cell: mistakes_of(self.path.stem, cell.source),
            },
        )
        exporter.config.NbConvertBase.display_data_priority = KINDS
        return exporter.from_notebook_node(self.notebook)[0]

    def picture(self, output: NotebookNode, kind: str) -> str:
        """An output's picture, written to a file, with the output's plain text as its alternative text."""
        data = output.data[kind]
        content = data.encode() if kind == "image/svg+xml" else lossless(b64decode(data))
        self.n_pictures += 1
        name = f"pictures/{self.path.stem}_{self.n_pictures}{'.svg' if kind == 'image/svg+xml' else '.webp'}"
        write(self.out / name, content)
        alt, place = escape(output.data.get("text/plain", "")), f"figure-{int(self.path.stem[:2])}.{self.n_pictures}"
        return f'<img id="{place}" src="{name}" alt="{alt}" loading="lazy"{size(output, kind, content)}>'

    def panel(self, cell: NotebookNode) -> str:
        """A panel that moves: its controls and its first picture; the other pictures stand in a file of their own."""
        panel, name = self.panels[cell.id], f"{self.path.stem}-{cell.id}"
        write(self.out / "frames" / f"{name}.js", frames_script(name, panel).encode())
        template = TEMPLATES.get_template("panel.html.j2")
        first = panel["frames"][",".join(str(control["start"]) for control in panel["controls"])]
        return template.render(panel, name=name, first=first, notebook=f"notebooks/{self.path.name}")

    def name_headings(self, soup: BeautifulSoup) -> None:
        """Give headings the targets that they have in JupyterLab."""
        for heading in soup(HEADINGS):
            heading["id"] = heading.get_text().strip().replace(" ", "-")

    def typeset(self, soup: BeautifulSoup) -> None:
        """Turn LaTeX in the text into MathML."""
        for text in prose(soup):
            if "$" in text or "\\begin{" in text:
                try:
                    text.replace_with(BeautifulSoup(self.site.typeset(text), "html.parser"))
                except ValueError as error:
                    raise ValueError(f"{self.path.name}: {error}") from None

    def link_proofs(self, soup: BeautifulSoup) -> None:
        """Lead from the number of every equation to itself, and from there to its proof."""
        for box in soup.select(".equation"):
            numbers = [target["id"].removeprefix("eq-") for target in box.select('span[id^="eq-"]')]
            links = [f'<a class="proof" href="{p}">proof</a>' for n in numbers if (p := self.site.proofs.get(n))]
            shown = [f'<a href="#eq-{n}">({n})</a>' for n in numbers] if box.select_one(".number") else []
            if box.select_one(".number"):
                box.select_one(".number").decompose()
            if shown or links:
                number = "".join([*shown, *links])
                box.append(BeautifulSoup(f'<span class="number">{number}</span>', "html.parser"))

    def add_anchors(self, soup: BeautifulSoup) -> None:
        """Give sections and pictures a link to themselves."""
        for heading in soup(HEADINGS[1:]):
            label = f"Address of this section: {heading.get_text()}"
            heading.append(self.anchor(soup, heading["id"], label, "#"))
        for image in soup.select(".output img[id^=figure-]"):
            number = image["id"].removeprefix("figure-")
            image.insert_after(self.anchor(soup, image["id"], f"Address of figure {number}", f"Figure {number}"))

    def anchor(self, soup: BeautifulSoup, target: str, label: str, words: str) -> Tag:
        """A quiet link to a place on the page."""
        link = soup.new_tag("a", href=f"#{quote(target)}", attrs={"class": "anchor", "aria-label": label})
        link.string = words
        return link

    def link_equations(self, soup: BeautifulSoup) -> None:
        """Let ``(2.3)`` in the text lead to the equation of that number."""
        for text in prose(soup, "a", "h1", "h2", "h3", ".number"):
            if TWO_VALUES.fullmatch(text):
                continue
            linked = REFERENCE.sub(self.reference, escape(text, quote=False))
            if linked != escape(text, quote=False):
                text.replace_with(BeautifulSoup(linked, "html.parser"))

    def reference(self, match: re.Match) -> str:
        page = self.site.equations.get(match[1])
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
        if url.scheme or not url.path or (self.out / url.path).exists() or url.path in self.site.equations.values():
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


def frames_script(name: str, panel: dict[str, Any]) -> str:
    """All pictures of a panel with their words, as a script that a page loads when the panel comes into view."""
    data = {"stops": [control["stops"] for control in panel["controls"]], "frames": panel["frames"]}
    return f"frames({json.dumps(name)}, {json.dumps(data, ensure_ascii=False, separators=(',', ':'))})"


def sections_of(soup: BeautifulSoup) -> list[tuple[str, str, str]]:
    """Id, heading and different words of every section of a page."""
    twice = {id(element) for element in soup.select(".katex-html, annotation, pre, .narrow")}
    found: list[tuple[str, list[str], set[str]]] = []
    for text in soup.find_all(string=True):
        parents = list(text.parents)
        if not twice.isdisjoint(map(id, parents)):
            continue
        heading = next((parent for parent in parents if parent.name in HEADINGS[:3]), None)
        if heading and not (found and found[-1][0] == heading["id"]):
            found.append((heading["id"], [], set()))
        if heading:
            found[-1][1].append(text)
        elif found:
            found[-1][2].update(re.findall(r"[^\W\d_]{3,}", text.lower()))
    return [(place, "".join(heading).strip(), " ".join(sorted(words))) for place, heading, words in found]


def lossless(content: bytes) -> bytes:
    """A picture as lossless WebP, about half the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).save(buffer, "WEBP", lossless=True, method=2)
    return buffer.getvalue()


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

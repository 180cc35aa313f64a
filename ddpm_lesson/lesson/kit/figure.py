"""What every drawing shares: colours, the picture with its words, and figures that redraw only what moves."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image, ImageDraw, ImageFont

from ddpm_lesson.lesson.kit.colours import ORANGE

SCALE = 1.5  # pixels of a figure for every pixel on the page, so that text is sharp on fine screens
DPI = 100 * SCALE
WIDTH = 8.8  # inches of a figure, 100 CSS pixels each
LEFT, RIGHT = 0.075, 0.985  # where axes begin and end in a figure with a headline
GRID = {"alpha": 0.3}  # how its lines look
PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 2}  # behind words that a line would cross


def subplots(
    height: float, n_columns: int = 1, *, room: float = 0, grid: str = "both", which: str = "major", **share: Any
) -> tuple[Figure, Sequence[Axes]]:
    """A figure with axes side by side, in the one style of the lesson: its width, its margins, its light grid.

    Args:
        height: of the figure in inches.
        n_columns: axes.
        room: inches above the axes, for a headline; then the margins are fixed. Without, they follow from the labels.
        grid, which: its lines: along ``"x"``, ``"y"``, ``"both"`` or nothing (``""``), and at which ticks.
        share: more for ``Figure.subplots``, such as ``sharey=True``.
    """
    figure = Figure(figsize=(WIDTH, height), layout=None if room else "constrained")
    if room:
        figure.subplots_adjust(LEFT, 0.5 / height, RIGHT, 1 - room / height, wspace=0.2)
    columns = figure.subplots(1, n_columns, squeeze=False, **share)[0]
    for axes in columns if grid else ():
        axes.grid(axis=grid, which=which, **GRID)
    return figure, columns


def headline(figure: Figure, left: float = LEFT) -> Text:
    """Room for a line in bold at the top of a figure, which starts ``left`` of its width from the edge."""
    return figure.text(left, 1 - 0.28 / figure.get_figheight(), "", fontsize=11, weight="bold")


def key(axes: Axes, lines: Mapping[str, str], corner: str = "upper left") -> None:
    """Say in a corner which line is which: ``lines`` is words -> their colour, from top to bottom."""
    vertical, side = corner.split()
    place = {"left": 0.02, "right": 0.98}[side], {"upper": 0.96, "lower": 0.04}[vertical]
    align = {"ha": side, "va": {"upper": "top", "lower": "bottom"}[vertical]}
    for row, (words, colour) in enumerate(lines.items()):
        down = row if vertical == "upper" else row + 1 - len(lines)  # rows from the corner
        box = {"bbox": PLATE | {"alpha": 0.8}, "textcoords": "offset points"}
        axes.annotate(words, place, (0, -15 * down), xycoords="axes fraction", color=colour, **align, **box)


@dataclass(frozen=True)
class Picture:
    """A drawing and what it shows, in words; the last line of a notebook's cell shows it.

    ``width`` and ``height`` are those on the page, in CSS pixels.
    """

    png: bytes
    width: int
    height: int
    alt: str

    def html(self, height: int | None = None) -> str:
        """An HTML image with alternative text, ``height`` pixels high."""
        source = base64.b64encode(self.png).decode()
        style = f"height:{height or self.height}px; max-width:100%; object-fit:contain; object-position:left top"
        alt = html.escape(self.alt, quote=True)
        return f'<img alt="{alt}" style="{style}" src="data:image/png;base64,{source}">'

    def image(self) -> Image.Image:
        """The pixels."""
        return Image.open(io.BytesIO(self.png)).convert("RGB")

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        return data, {"image/png": {"width": self.width, "height": self.height}}


def picture(drawing: Image.Image | Figure, alt: str, scale: float = 1) -> Picture:
    """Turn a Pillow image or a matplotlib figure into PNG bytes with alternative text.

    Args:
        drawing: the image or figure.
        alt: what it shows, in words.
        scale: pixels of a Pillow image for every CSS pixel on the page.
    """
    buffer = io.BytesIO()
    if isinstance(drawing, Figure):
        drawing.savefig(buffer, format="png", dpi=DPI)
        drawing, scale = Image.open(buffer), SCALE
    else:
        drawing.save(buffer, format="png", compress_level=1)
    return Picture(buffer.getvalue(), round(drawing.width / scale), round(drawing.height / scale), alt)


def faded(shown: Picture) -> Picture:
    """A pale version of a picture, for one that no longer fits what is asked."""
    image = shown.image()
    pale = Image.blend(image, Image.new("RGB", image.size, "white"), 0.6)
    return picture(pale, shown.alt, image.width / shown.width)


def noted(shown: Picture, note: str) -> Picture:
    """A picture with a note above it and in front of its words; the picture itself without a note."""
    if not note:
        return shown
    image = shown.image()
    scale = image.width / shown.width
    font, margin = ImageFont.load_default(size=14 * scale), round(8 * scale)
    lines = wrapped(note, font, image.width - 3 * margin)
    height = 2 * margin + round(20 * scale) * (lines.count("\n") + 1)
    banner = Image.new("RGB", (image.width, height), "#fff4d6")
    draw = ImageDraw.Draw(banner)
    draw.rectangle((0, 0, margin // 2, height), ORANGE)
    draw.multiline_text((2 * margin, margin), lines, "#1a1a1a", font, spacing=4 * scale)
    return picture(stacked(banner, image), f"{note} {shown.alt}", scale)


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """``text`` with line breaks, so that no line is wider than ``width`` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


class LiveFigure:
    """A figure of which only the artists that move are drawn anew.

    Axes, ticks and labels take most of the time; they are drawn once and kept as the background.

    Args:
        figure: complete with axes, labels and all artists.
        moving: the artists that change; whoever calls ``picture`` has set them before.
        top: the headline, if there is one; ``image`` and ``picture`` are given its words.
    """

    def __init__(self, figure: Figure, moving: Iterable[Artist], top: Text | None = None):
        self.figure, self.top = figure, top
        self.moving = [*moving, top] if top else list(moving)
        for artist in self.moving:
            artist.set_animated(True)
        figure.set_dpi(DPI)
        self.canvas = FigureCanvasAgg(figure)
        self.background = None

    def image(self, words: str = "") -> Image.Image:
        """The figure as it is now, under ``words``, ``SCALE`` times as large as on the page."""
        if self.top:
            self.top.set_text(words)
        if self.background is None:
            self.canvas.draw()
            self.background = self.canvas.copy_from_bbox(self.figure.bbox)
        self.canvas.restore_region(self.background)
        for artist in self.moving:
            self.figure.draw_artist(artist)
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")

    def picture(self, alt: str, words: str = "") -> Picture:
        """The figure under ``words``, with alternative text; in 256 colours, which a browser gets twice as fast."""
        return picture(self.image(words).quantize(256, method=Image.Quantize.FASTOCTREE), alt, SCALE)


def stacked(top: Image.Image, bottom: Image.Image) -> Image.Image:
    """One image below the other on white."""
    sheet = Image.new("RGB", (max(top.width, bottom.width), top.height + bottom.height), "white")
    sheet.paste(top, (0, 0))
    sheet.paste(bottom, (0, top.height))
    return sheet

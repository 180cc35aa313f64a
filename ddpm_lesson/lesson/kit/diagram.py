"""Boxes and arrows: the one visual language of all diagrams, drawn by code from what they show.

Coordinates are CSS pixels from the top left corner. The card is white in the light and in the dark theme.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

from ddpm_lesson.lesson.kit.colours import BLACK, BLUE, GREY, ORANGE
from ddpm_lesson.lesson.kit.figure import SCALE, Picture, picture

FINE = 2  # drawn so many times larger and shrunk, so that slanted lines are smooth
COLOURS = {  # fill and edge of each kind of box
    "data": ("#ffffff", BLACK),
    "conv": ("#d6e6f2", "#0072B2"),
    "norm": ("#e6e6e6", "#666666"),
    "act": ("#fbf6c3", "#a89b00"),
    "linear": ("#d2eee5", "#009E73"),
    "attention": ("#f6e3ee", "#b3578a"),
    "time": ("#fbe1d1", "#D55E00"),
    "resample": ("#e3f2fb", "#3a94c9"),
    "block": ("#f6f6f6", "#8c8c8c"),
}
ARROWS = {"flow": (BLACK, ()), "skip": (BLUE, (7, 4)), "time": (ORANGE, (2, 3))}  # colour, and dashes in pixels
Point = tuple[float, float]


class Box(NamedTuple):
    """Where a box stands; its sides are points for arrows to start and end at."""

    x: float
    y: float
    w: float
    h: float

    @property
    def left(self) -> Point:
        """The middle of the left side."""
        return self.x, self.y + self.h / 2

    @property
    def right(self) -> Point:
        """The middle of the right side."""
        return self.x + self.w, self.y + self.h / 2

    @property
    def top(self) -> Point:
        """The middle of the upper side."""
        return self.x + self.w / 2, self.y

    @property
    def bottom(self) -> Point:
        """The middle of the lower side."""
        return self.x + self.w / 2, self.y + self.h

    @property
    def centre(self) -> Point:
        """The middle."""
        return self.x + self.w / 2, self.y + self.h / 2


class Diagram:
    """A white card to draw boxes, arrows and words on.

    Args:
        width, height: of the card, in CSS pixels.
    """

    def __init__(self, width: int, height: int):
        self.unit = SCALE * FINE
        self.size = round(width * self.unit), round(height * self.unit)
        self.canvas = Image.new("RGB", self.size, "white")
        self.draw = ImageDraw.Draw(self.canvas)
        self.rectangle(Box(1, 1, width - 2, height - 2), "white", "#cccccc", radius=8)

    def rectangle(self, box: Box, fill: str, edge: str, radius: float = 5, line: float = 1.3) -> None:
        """A rectangle with round corners."""
        corners = [round(v * self.unit) for v in (box.x, box.y, box.x + box.w, box.y + box.h)]
        self.draw.rounded_rectangle(corners, radius * self.unit, fill, edge, round(line * self.unit))

    def box(self, kind: str, x: float, y: float, w: float, h: float, text: str = "", note: str = "") -> Box:
        """A box of one kind (see ``COLOURS``) with its name, and a smaller note below it."""
        box = Box(x, y, w, h)
        self.rectangle(box, *COLOURS[kind])
        (cx, cy), down = box.centre, 8 * bool(note and text)
        self.text(cx, cy - down, text, 13)
        self.text(cx, cy + down, note, 12, GREY)
        return box

    def frame(self, x: float, y: float, w: float, h: float, title: str = "") -> Box:
        """A dashed outline around several boxes, with a title inside its upper left corner."""
        corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)]
        self.line(corners, GREY, (6, 4), 1)
        self.text(x + 8, y + 13, title, 13, GREY, "lm", bold=True)
        return Box(x, y, w, h)

    def symbol(self, x: float, y: float, text: str, radius: float = 11) -> Box:
        """A circle around a sign such as "×"."""
        box = Box(x - radius, y - radius, 2 * radius, 2 * radius)
        self.rectangle(box, "white", BLACK, radius)
        self.text(x, y, text, 16)
        return box

    def plus(self, x: float, y: float) -> Box:
        """A circle with a plus: what comes in is added up."""
        return self.symbol(x, y, "+")

    def arrow(self, start: Point, *on: Point, kind: str = "flow", label: str = "") -> None:
        """A line from ``start`` through all further points, with a head at the last and a label at its middle.

        Args:
            start, on: points; there is at least one further.
            kind: ``"flow"`` (solid, black), ``"skip"`` (dashed, blue) or ``"time"`` (dotted, orange).
            label: stands above the longest piece, or to its right if that is steep.
        """
        colour, dashes = ARROWS[kind]
        points = [np.array(p, dtype=float) for p in (start, *on)]
        way = points[-1] - points[-2]
        way /= max(np.hypot(*way), 1e-9)
        tip, side = points[-1], np.array([-way[1], way[0]])
        neck = tip - 8 * way
        self.line([*points[:-1], neck], colour, dashes, 1.6)
        self.draw.polygon([tuple(p * self.unit) for p in (tip, neck + 4.5 * side, neck - 4.5 * side)], colour)
        if label:
            self.label(points, label, colour)

    def label(self, points: Sequence[np.ndarray], text: str, colour: str) -> None:
        """Words beside the longest piece of a line."""
        a, b = max(pairwise(points), key=lambda piece: np.hypot(*(piece[1] - piece[0])))
        (x, y), steep = (a + b) / 2, abs(b[1] - a[1]) > abs(b[0] - a[0])
        if steep:
            self.text(x + 6, y, text, 12, colour, "lm")
        else:
            self.text(x, y - 9, text, 12, colour)

    def line(
        self, points: Sequence[Point | np.ndarray], colour: str, dashes: Sequence[float] = (), width: float = 1.3
    ) -> None:
        """A line through points; ``dashes`` are the lengths of stroke and gap, solid without."""
        for start, end in pairwise(np.array(points, dtype=float)):
            length = max(np.hypot(*(end - start)), 1e-9)
            stroke, gap = dashes or (length, 0)
            for begin in np.arange(0, length, stroke + gap):
                piece = [start + (end - start) * min(s, length) / length for s in (begin, begin + stroke)]
                self.draw.line([tuple(p * self.unit) for p in piece], colour, round(width * self.unit))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 13,
        colour: str = BLACK,
        anchor: str = "mm",
        bold: bool = False,
    ) -> None:
        """Words, by default centred at (x, y); ``anchor`` as in Pillow, such as "lm" for a start at (x, y)."""
        place = x * self.unit, y * self.unit
        if "\n" in text:
            self.draw.multiline_text(place, text, colour, font(size * self.unit, bold), anchor, align="center")
        elif text:
            self.draw.text(place, text, colour, font(size * self.unit, bold), anchor)

    def image(self, x: float, y: float, w: float, h: float, pixels: np.ndarray | Image.Image) -> Box:
        """An image in a thin frame: an array of bytes, (H, W) grey or (H, W, 3), or a Pillow image."""
        shown = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        size = round(w * self.unit), round(h * self.unit)
        self.canvas.paste(
            shown.convert("RGB").resize(size, Image.Resampling.NEAREST), (round(x * self.unit), round(y * self.unit))
        )
        corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)]
        self.line(corners, GREY, width=0.7)
        return Box(x, y, w, h)

    def picture(self, alt: str) -> Picture:
        """The card as it is now, with alternative text."""
        shown = self.canvas.reduce(FINE).quantize(256, method=Image.Quantize.FASTOCTREE)
        return picture(shown, alt, SCALE)


def legend(diagram: Diagram, x: float, y: float, kinds: Iterable[str]) -> None:
    """A row that names kinds of boxes, starting at (x, y) and centred there in height."""
    for kind in kinds:
        diagram.rectangle(Box(x, y - 7, 20, 14), *COLOURS[kind], radius=3)
        diagram.text(x + 26, y, kind, 12, anchor="lm")
        x += 44 + font(12 * diagram.unit).getlength(kind) / diagram.unit


@lru_cache(maxsize=64)
def font(size: float, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of all diagrams, ``size`` pixels high."""
    weight = "bold" if bold else "normal"
    return ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans", weight=weight)), round(size))

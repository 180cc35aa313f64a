"""Images beside each other, and noise as a picture."""

from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ddpm_lesson.data import from_bytes, to_bytes
from ddpm_lesson.lesson.kit.figure import stacked

NOISE_RANGE = 3  # standard deviations that the colours of a noise picture span


def thumbnail(x: Tensor, side: int) -> Image.Image:
    """One image (C, H, W) in [-1, 1], ``side`` pixels wide."""
    pixels = to_bytes(x).expand(3, -1, -1).permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)


def noise_image(eps: Tensor) -> Tensor:
    """Signed noise (1, C, H, W) as an image in [-1, 1].

    Noise of one channel gets colours: orange below 0, white at 0, purple above. Of three channels it is only scaled.
    """
    if eps.shape[1] > 1:
        return eps / NOISE_RANGE
    colours = colormaps["PuOr"]((eps[:, 0].numpy() / NOISE_RANGE + 1) / 2, bytes=True)[..., :3]  # (1, H, W, 3)
    return from_bytes(Tensor(colours)).permute(0, 3, 1, 2)


def thumbnails(rows: Mapping[str, Tensor], side: int) -> dict[str, list[Image.Image]]:
    """Batches of images (B, C, H, W) by name, every image ``side`` pixels wide."""
    return {name: [thumbnail(x, side) for x in images] for name, images in rows.items()}


def contact_sheet(
    rows: Mapping[str, Sequence[Image.Image]], captions: Sequence[str] = (), *, gap: int = 16, below: bool = False
) -> Image.Image:
    """Pictures of one size in named rows on white.

    Args:
        rows: name (may be empty) -> one picture a column.
        captions: one a column, or none.
        gap: pixels between pictures.
        below: the captions stand below the last row instead of over the first.
    """
    font = ImageFont.load_default(size=18)
    side, edge, band = max(font.getlength(name) for name in rows), 8, 34 if captions else 8  # pixels
    first = next(iter(rows.values()))
    cell, left, top = first[0], round(side) + gap * (2 if side else 1), edge if below else band
    width, height = left + len(first) * (cell.width + gap), top + len(rows) * (cell.height + gap) + below * (band - gap)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, caption in enumerate(captions):
        place = left + i * (cell.width + gap) + cell.width // 2, height - band // 2 if below else band // 2
        draw.text(place, caption, "black", font, anchor="mm")
    for j, (name, pictures) in enumerate(rows.items()):
        y = top + j * (cell.height + gap)
        draw.text((gap, y + cell.height // 2), name, "black", font, anchor="lm")
        for i, image in enumerate(pictures):
            sheet.paste(image, (left + i * (cell.width + gap), y))
    return sheet


def titled(sheet: Image.Image, *lines: str) -> Image.Image:
    """A sheet below lines of text; made as wide as they need."""
    font, margin, step = ImageFont.load_default(size=18), 10, 24
    width = max(sheet.width, *(round(font.getlength(line)) + 2 * margin for line in lines))
    title = Image.new("RGB", (width, margin + step * len(lines)), "white")
    for i, line in enumerate(lines):
        ImageDraw.Draw(title).text((margin, 17 + step * i), line, "black", font, anchor="lm")
    return stacked(title, sheet)

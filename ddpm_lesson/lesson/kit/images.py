"""Images beside each other, and noise as a picture."""

from collections.abc import Sequence

from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ddpm_lesson.data import from_bytes, to_bytes

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


def contact_sheet(captions: Sequence[str], rows: dict[str, Sequence[Image.Image]], gap: int = 16) -> Image.Image:
    """Pictures of one size in named rows on white, with a caption over each column.

    Args:
        captions: one a column.
        rows: name (may be empty) -> one picture a column.
        gap: pixels between pictures.
    """
    font = ImageFont.load_default(size=18)
    side, head = max(font.getlength(name) for name in rows), 34  # pixels for names and captions
    cell = next(iter(rows.values()))[0]
    left = round(side) + gap * (2 if side else 1)
    width, height = left + len(captions) * (cell.width + gap), head + len(rows) * (cell.height + gap)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, caption in enumerate(captions):
        draw.text((left + i * (cell.width + gap) + cell.width // 2, head // 2), caption, "black", font, anchor="mm")
    for j, (name, pictures) in enumerate(rows.items()):
        y = head + j * (cell.height + gap)
        draw.text((gap, y + cell.height // 2), name, "black", font, anchor="lm")
        for i, image in enumerate(pictures):
            sheet.paste(image, (left + i * (cell.width + gap), y))
    return sheet

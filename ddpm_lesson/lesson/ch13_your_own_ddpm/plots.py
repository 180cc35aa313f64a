"""Your own DDPM in pictures: images on their way into noise, drawings, and the certificate."""

from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ddpm_lesson.lesson.ch13_your_own_ddpm.experiments import OwnDdpm
from ddpm_lesson.lesson.kit.figure import Picture, picture
from ddpm_lesson.lesson.kit.images import contact_sheet, thumbnails
from ddpm_lesson.lesson.kit.pieces import PIECES
from ddpm_lesson.pictures import grid_image

SIDE = 56  # pixels of a thumbnail


def film_picture(rows: Mapping[str, Tensor], alt: str, captions: tuple[str, ...] = ()) -> Picture:
    """Batches of images (B, C, H, W) by name, a row each."""
    return picture(contact_sheet(thumbnails(rows, SIDE), captions, gap=8), alt)


def certificate(own: OwnDdpm, samples: Tensor, distance: float, floor: Tensor) -> Picture:
    """What the learner's own model drew, and what it is made of.

    Args:
        own: the model, and whose its pieces are.
        samples: (N, C, H, W) in [-1, 1], the first 32 are shown.
        distance, floor: as ``OwnDdpm.measure`` gives them.
    """
    drawings = grid_image(samples[:32], n_columns=8, min_side=560)
    mean, std = float(floor.mean()), float(floor.std())
    lines = (
        f"{own.n_own} of {len(PIECES)} pieces are mine: "
        + (f"{own.n_lines} lines of code" if own.n_own else "all are still the lesson's"),
        f"T = {own.plan.n_steps}, trained for {own.updates:,} updates; Frechet distance {distance:.1f}",
        f"real images among themselves: {mean:.1f} ± {std:.1f}",
    )
    large, small = ImageFont.load_default(size=30), ImageFont.load_default(size=19)
    sheet = Image.new("RGB", (drawings.width + 80, drawings.height + 240), "white")
    pen = ImageDraw.Draw(sheet)
    middle = sheet.width / 2
    pen.rectangle((12, 12, sheet.width - 13, sheet.height - 13), outline="#0072B2", width=3)
    pen.text((middle, 56), "A diffusion model of my own", "black", large, anchor="mm")
    sheet.paste(drawings, (40, 92))
    for i, line in enumerate(lines):
        pen.text((middle, drawings.height + 126 + 32 * i), line, "black", small, anchor="mm")
    return picture(sheet, f"Certificate: 32 drawings by the model. {'. '.join(lines)}.")

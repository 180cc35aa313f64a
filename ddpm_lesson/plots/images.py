"""Batches of images as pictures."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ddpm_lesson.data import to_bytes
from ddpm_lesson.plots.core import Picture, picture
from ddpm_lesson.sample import ReverseStep


def grid_image(images: Tensor, n_columns: int | None = None, min_side: int = 480) -> Image.Image:
    """Tile a batch into one picture, enlarged by whole pixels until it can be seen.

    Args:
        images: (B, C, H, W) in [-1, 1].
        n_columns: images a row; a square grid unless given.
        min_side: least width of the picture in pixels.

    Raises:
        ValueError: if there are no images.
    """
    from torchvision.utils import make_grid

    if len(images) == 0:
        raise ValueError("images must hold at least one image; got none")
    n_columns = n_columns or int(np.ceil(len(images) ** 0.5))
    tiled = make_grid(to_bytes(images.detach().cpu()), nrow=n_columns, padding=1, pad_value=128)  # (3, H', W')
    tiles = Image.fromarray(tiled.permute(1, 2, 0).numpy())
    scale = -(-min_side // tiles.width)
    return tiles.resize((tiles.width * scale, tiles.height * scale), Image.Resampling.NEAREST)


def save_gif(frames: Iterable[Image.Image], path: str | Path, frame_ms: int = 60, hold_ms: int = 2000) -> None:
    """Write an animation that loops and rests on its last frame.

    Args:
        frames: pictures of one size, at least one.
        path: file to write.
        frame_ms, hold_ms: milliseconds each frame and the last one stay.

    Raises:
        ValueError: if there are no frames.
    """
    frames = list(frames)
    if not frames:
        raise ValueError("frames must hold at least one picture; got none")
    first, *rest = frames
    durations = [frame_ms] * len(rest) + [hold_ms]
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0)


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


def reverse_picture(step: ReverseStep, T: int, snr_db: float, what: str, n_columns: int | None = None) -> Picture:
    """One state of the reverse process: x_t beside the estimate x0_hat.

    Args:
        step: the state.
        T: number of diffusion steps of the model.
        snr_db: signal-to-noise ratio at this time, in dB.
        what: what the images are, for the alternative text, such as "16 digits".
        n_columns: images a row.
    """
    images = [grid_image(x, n_columns, 340) for x in (step.xt, step.x0_hat)]
    sheet = contact_sheet([f"x_t  at t = {step.t}", "x0_hat, the guess from there"], {"": images})
    where = f"at t = {step.t} of {T}, signal-to-noise {snr_db:.0f} dB"
    return picture(sheet, f"{what} on the way from noise {where}: left x_t, right the network's guess x0_hat")


def reverse_strip(steps: Sequence[ReverseStep], what: str, n_states: int = 7, n_images: int = 4) -> Picture:
    """The reverse process at a glance: x_t over x0_hat at evenly spaced times.

    Args:
        steps: all states, from noise to image.
        what: what the images are, for the alternative text.
        n_states: how many of the states to show.
        n_images: how many images of the batch to show.
    """
    states = [steps[i] for i in np.linspace(0, len(steps) - 1, min(n_states, len(steps))).round().astype(int)]
    rows = {
        "x_t": [grid_image(s.xt[:n_images], min_side=110) for s in states],
        "x0_hat": [grid_image(s.x0_hat[:n_images], min_side=110) for s in states],
    }
    times = [f"t = {s.t}" for s in states]
    alt = f"{what} on the way from noise to image, x_t over the network's guess x0_hat at {', '.join(times)}"
    return picture(contact_sheet(times, rows), alt)

"""Batches of images, loss curves and tables, for people to look at."""

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ddpm_lesson.data import to_bytes
from ddpm_lesson.runtime import needs


def grid_image(images: Tensor, n_columns: int | None = None, min_side: int = 480) -> Image.Image:
    """Tile a batch into one picture, enlarged by whole pixels until it can be seen.

    Args:
        images: (B, C, H, W) in [-1, 1].
        n_columns: images a row; a square grid unless given.
        min_side: least width of the picture in pixels.

    Raises:
        ValueError: if there are no images.
    """
    if len(images) == 0:
        raise ValueError("images must hold at least one image; got none")
    tiles = Image.fromarray(tiled(to_bytes(images.detach().cpu()), n_columns or math.ceil(len(images) ** 0.5)).numpy())
    scale = -(-min_side // tiles.width)
    return tiles.resize((tiles.width * scale, tiles.height * scale), Image.Resampling.NEAREST)


def tiled(images: Tensor, n_columns: int) -> Tensor:
    """Bytes (B, C, H, W) row by row as one picture (H', W', 3), with grey lines around each; a single one has none."""
    images = images.expand(-1, 3, -1, -1)
    if len(images) == 1:
        return images[0].permute(1, 2, 0)
    n_columns = min(n_columns, len(images))
    n_rows = -(-len(images) // n_columns)
    framed = F.pad(images, (1, 0, 1, 0, 0, 0, 0, n_rows * n_columns - len(images)), value=128)
    rows = framed.unflatten(0, (n_rows, n_columns)).permute(0, 3, 1, 4, 2)  # (rows, H, columns, W, 3)
    return F.pad(rows.flatten(2, 3).flatten(0, 1), (0, 0, 0, 1, 0, 1), value=128)


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


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, the first column to the left and the others centred."""
    lines = [header, [":--"] + [":-:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def loss_curve(steps: Sequence[int], losses: Sequence[float], smoothing: float = 0.9) -> bytes:
    """The training loss over optimiser steps, with its running average, as a PNG.

    Args:
        steps, losses: points of the curve.
        smoothing: weight of the past in the running average.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    needs("matplotlib", extra="plots")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses, color="#0072B2", alpha=0.35, linewidth=1, label="loss")
    axes.plot(steps, running_average(losses, smoothing), color="#D55E00", linewidth=2, label="running average")
    axes.set(xlabel="optimiser step", ylabel="loss $L_{simple}$", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    contents = io.BytesIO()
    figure.savefig(contents, format="png", dpi=150)
    return contents.getvalue()


def running_average(values: Sequence[float], smoothing: float) -> list[float]:
    """Exponential average without start-up bias."""
    average, weight, out = 0.0, 0.0, []
    for value in values:
        average = smoothing * average + (1 - smoothing) * value
        weight = smoothing * weight + (1 - smoothing)
        out.append(average / weight)
    return out

"""Many samples of a model, kept on disk batch by batch, so that a long measurement goes on where it stopped."""

import os
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from ddpm_lesson.data import from_bytes, to_bytes

Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]  # shape, generator -> samples in [-1, 1]


def sample_in_batches(
    draw: Draw, shape: tuple[int, ...], folder: Path, *, batch_size: int, seed: int, label: str
) -> Tensor:
    """Samples of ``shape`` (N, C, H, W), rounded to bytes as in a file of images, back in [-1, 1].

    Every batch has its own seed and its own file in ``folder``; those that are there are not drawn again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batches = []
    with click.progressbar(range(0, shape[0], batch_size), label=label) as starts:
        for start in starts:
            size = min(batch_size, shape[0] - start)
            file = folder / f"{seed}-{start}-{size}.npy"
            if not file.exists():
                samples = draw((size, *shape[1:]), torch.Generator().manual_seed(seed * 1_000_003 + start))
                unfinished = file.with_suffix(".unfinished.npy")
                np.save(unfinished, to_bytes(samples).cpu().numpy())
                os.replace(unfinished, file)
            batches.append(from_bytes(torch.from_numpy(np.load(file))))
    return torch.cat(batches)

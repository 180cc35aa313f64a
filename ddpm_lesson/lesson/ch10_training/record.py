"""A training run to look back on: samples and guesses at a few steps, and its loss curve, in three small files."""

import csv
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddpm_lesson.data import from_bytes
from ddpm_lesson.runtime import assets_folder

CURVES = {"digits": "digits.csv", "mnist": "mnist_full.csv"}  # of the runs that come with the lesson, whole


class Record(NamedTuple):
    """Looks at what a run could do, and its loss curve; images in [-1, 1]."""

    info: dict  # settings of the run, and how it was recorded; anything that JSON can hold
    xt: Tensor  # (N, C, H, W), noisy images that the guesses belong to
    steps: list[int]  # optimiser steps at which the looks were taken
    looks: list[tuple[Tensor, Tensor]]  # one a step: (N, C, H, W) samples, from the same noise always, and x0_hat of xt
    losses: list[tuple[int, float]]  # (step, loss), as often as they were written down


def load_record(name: str, folder: Path | None = None) -> Record:
    """Read what ``python -m tests.benchmarks.training_record`` wrote, from the lesson's folder unless another is given.

    Raises:
        ValueError: if there is no record of this name.
    """
    folder = folder or assets_folder() / "training"
    names = sorted(file.stem for file in folder.glob("*.png"))
    if name not in names:
        raise ValueError(f"name must be one of {', '.join(names)}; got {name!r}")
    info = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    channels, height, width = info["image_shape"]
    pixels = torch.from_numpy(np.array(Image.open(folder / f"{name}.png"))).reshape(len(info["steps"]) + 1, height, -1)
    images = from_bytes(pixels.unflatten(-1, (2, -1, width, channels))).permute(0, 2, 3, 5, 1, 4)  # (n, 2, N, C, H, W)
    return Record(info, images[0, 0], info["steps"], list(map(tuple, images[1:])), points(folder / f"{name}.csv"))


def load_curve(name: str) -> tuple[list[int], list[float]]:
    """Steps and losses of the whole of a run in ``CURVES``; a ValueError if it is not there."""
    if name not in CURVES:
        raise ValueError(f"name must be one of {', '.join(CURVES)}; got {name!r}")
    return tuple(map(list, zip(*points(assets_folder() / "training" / CURVES[name]), strict=True)))


def points(file: Path) -> list[tuple[int, float]]:
    """Every (step, loss) of a file."""
    with file.open(encoding="utf-8") as lines:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(lines)]

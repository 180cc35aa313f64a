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


class Look(NamedTuple):
    """What a model can do at one moment of its training; images in [-1, 1]."""

    samples: Tensor  # (N, C, H, W), from the same noise at every look
    guesses: Tensor  # (N, C, H, W), x0_hat of the question


class Record(NamedTuple):
    """Looks at a run, and its loss curve."""

    info: dict  # settings of the run, and how it was recorded; anything that JSON can hold
    xt: Tensor  # (N, C, H, W), noisy images that the guesses belong to
    steps: list[int]  # optimiser steps at which the looks were taken
    looks: list[Look]  # one a step
    losses: list[tuple[int, float]]  # (step, loss), as often as they were written down


def load_record(name: str, folder: Path | None = None) -> Record:
    """Read a record that ``python -m tests.benchmarks.training_record`` wrote, of the lesson's unless in a folder.

    Raises:
        ValueError: if there is no record of this name.
    """
    folder = folder or assets_folder() / "training"
    names = sorted(file.stem for file in folder.glob("*.png"))
    if name not in names:
        raise ValueError(f"name must be one of {', '.join(names)}; got {name!r}")
    info = json.loads((folder / f"{name}.json").read_text())
    channels, height, width = info["image_shape"]
    pixels = torch.from_numpy(np.array(Image.open(folder / f"{name}.png"))).reshape(len(info["steps"]) + 1, height, -1)
    images = from_bytes(pixels.unflatten(-1, (2, -1, width, channels))).permute(0, 2, 3, 5, 1, 4)  # (n, 2, N, C, H, W)
    return Record(info, images[0, 0], info["steps"], [Look(*row) for row in images[1:]], points(folder / f"{name}.csv"))


def load_curve(name: str) -> tuple[list[int], list[float]]:
    """Steps and losses of the whole of a run in ``CURVES``."""
    steps, losses = map(list, zip(*points(assets_folder() / "training" / CURVES[name]), strict=True))
    return steps, losses


def points(file: Path) -> list[tuple[int, float]]:
    """Every (step, loss) of a file."""
    with file.open(encoding="utf-8") as lines:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(lines)]

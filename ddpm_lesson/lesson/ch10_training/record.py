"""A training run to look back on: samples and guesses at a few steps, and its loss curve, in three small files."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddpm_lesson.data import from_bytes, to_bytes
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.sample import ddim_steps, eval_mode

FIRST_IMAGES = 4  # images that are guessed, each at every time
GUESS_TIMES = (100, 300, 500, 800)
SAMPLE_STEPS = 25
RECORDS = ("digits", "mnist")  # of the runs that come with the lesson
CURVES = ("mnist",)  # of which there is a whole curve besides


class Question(NamedTuple):
    """Noisy images, the same at every look: the network is asked what was there."""

    x0: Tensor  # (B, C, H, W)
    xt: Tensor  # (B, C, H, W)
    t: Tensor  # (B,)


def question(diffusion: DenoiseDiffusion, images: Tensor, times: tuple[int, ...] = GUESS_TIMES) -> Question:
    """Every image at every time, image after image, with noise of seed 0.

    Args:
        diffusion: the model; only its schedule is used.
        images: (N, C, H, W) in [-1, 1].
        times: 0 .. T-1.
    """
    x0 = images.repeat_interleave(len(times), 0).to(diffusion.device)
    t = torch.tensor(times, device=diffusion.device).repeat(len(images))
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)).to(x0)
    return Question(x0, diffusion.q_sample(x0, t, eps), t)


class Look(NamedTuple):
    """What a model can do at one moment of its training; images in [-1, 1]."""

    samples: Tensor  # (N, C, H, W), from the same noise at every look
    guesses: Tensor  # (N, C, H, W), x0_hat of the question


@torch.no_grad()
def look(diffusion: DenoiseDiffusion, asked: Question, n_steps: int = SAMPLE_STEPS) -> Look:
    """Answer a question, and draw as many samples from noise of seed 0 with ``n_steps`` of DDIM."""
    for step in ddim_steps(diffusion, asked.x0.shape, n_steps, generator=torch.Generator().manual_seed(0)):
        samples = step.x0_hat
    guesses = eval_mode(diffusion).denoise(asked.xt, asked.t)
    return Look(samples.cpu(), guesses.cpu())


@dataclass
class Record:
    """Looks at a run, and its loss curve.

    Attributes:
        info: settings of the run, and how it was recorded; anything that JSON can hold.
        xt: (N, C, H, W) noisy images that the guesses belong to.
        steps: optimiser steps at which the looks were taken.
        looks: one a step.
        losses: (step, loss), as often as they were written down.
    """

    info: dict
    xt: Tensor
    steps: list[int] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)

    def save(self, folder: Path, name: str) -> None:
        """Write ``name.png`` (xt above a row a look: samples, then guesses), ``name.csv`` and ``name.json``."""
        from PIL import Image

        folder.mkdir(parents=True, exist_ok=True)
        sheets = [torch.cat([self.xt.cpu()] * 2), *(torch.cat(tuple(look)) for look in self.looks)]
        rows = [torch.cat(tuple(sheet), dim=-1) for sheet in sheets]  # each (C, H, 2 N W)
        pixels = to_bytes(torch.cat(rows, dim=1)).permute(1, 2, 0).numpy()
        Image.fromarray(pixels.squeeze()).save(folder / f"{name}.png", optimize=True)
        info = {**self.info, "steps": self.steps, "image_shape": list(self.xt.shape[1:])}
        (folder / f"{name}.json").write_text(json.dumps(info, indent=2) + "\n")
        lines = ["step,loss", *(f"{step},{loss:.4g}" for step, loss in self.losses)]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def load_record(name: str, folder: Path | None = None) -> Record:
    """Read a record that ``Record.save`` wrote.

    Args:
        name: ``"digits"`` or ``"mnist"`` for the runs that come with the lesson.
        folder: where it is; that of the lesson unless given.

    Raises:
        ValueError: if there is no record of this name.
    """
    from PIL import Image

    folder = folder or assets_folder() / "training"
    names = sorted(file.stem for file in folder.glob("*.png"))
    if name not in names:
        raise ValueError(f"name must be one of {', '.join(names)}; got {name!r}")
    info = json.loads((folder / f"{name}.json").read_text())
    channels, height, width = info["image_shape"]
    pixels = torch.from_numpy(np.array(Image.open(folder / f"{name}.png"))).reshape(len(info["steps"]) + 1, height, -1)
    images = from_bytes(pixels.unflatten(-1, (2, -1, width, channels))).permute(0, 2, 3, 5, 1, 4)  # (n, 2, N, C, H, W)
    xt, looks = images[0, 0], [Look(*row) for row in images[1:]]
    with (folder / f"{name}.csv").open(encoding="utf-8") as file:
        losses = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    return Record(info, xt, info["steps"], looks, losses)


def load_curve(name: str, folder: Path | None = None) -> tuple[list[int], list[float]]:
    """Steps and losses of a whole run that comes with the lesson, from ``name_full.csv``."""
    with ((folder or assets_folder() / "training") / f"{name}_full.csv").open(encoding="utf-8") as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    steps, losses = map(list, zip(*rows, strict=True))
    return steps, losses

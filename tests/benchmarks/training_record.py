"""Record a run for the training time machine: ``python -m tests.benchmarks.training_record digits``.

Trains a preset and writes, at the steps of a logarithmic scale, samples from the same noise and guesses of the same
noisy test images, with the average of the weights; and the loss curve. The files are those that
``ddpm_lesson/lesson/ch10_training/record.py`` reads.
"""

import json
from pathlib import Path
from typing import NamedTuple

import click
import torch
from PIL import Image
from torch import Tensor

from ddpm_lesson import checkpoint, get_preset, load_images
from ddpm_lesson.data import to_bytes
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch10_training.record import Record
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.sample import ddim_steps, eval_mode, final_samples
from ddpm_lesson.train import TrainState, train

MARKS = sorted({m * 10**k for m in (1, 3) for k in range(6)})
FIRST_IMAGES = 4  # images that are guessed, each at every time
GUESS_TIMES = (100, 300, 500, 800)
SAMPLE_STEPS = 25


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


@torch.no_grad()
def look(diffusion: DenoiseDiffusion, asked: Question, n_steps: int = SAMPLE_STEPS) -> tuple[Tensor, Tensor]:
    """As many samples from noise of seed 0 with ``n_steps`` of DDIM, and the answers to a question, x0_hat."""
    steps = ddim_steps(diffusion, asked.x0.shape, n_steps, generator=torch.Generator().manual_seed(0))
    samples, guesses = final_samples(steps), eval_mode(diffusion).denoise(asked.xt, asked.t)
    return samples.cpu(), guesses.cpu()


def save(record: Record, folder: Path, name: str) -> None:
    """Write ``name.png`` (xt above a row a look: samples, then guesses), ``name.csv`` and ``name.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    sheets = [torch.cat([record.xt.cpu()] * 2), *map(torch.cat, record.looks)]
    rows = [torch.cat(tuple(sheet), dim=-1) for sheet in sheets]  # each (C, H, 2 N W)
    pixels = to_bytes(torch.cat(rows, dim=1)).permute(1, 2, 0).numpy()
    Image.fromarray(pixels.squeeze()).save(folder / f"{name}.png", optimize=True)
    info = {**record.info, "steps": record.steps, "image_shape": list(record.xt.shape[1:])}
    (folder / f"{name}.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    lines = ["step,loss", *(f"{step},{loss:.4g}" for step, loss in record.losses)]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@click.command()
@click.argument("preset")
@click.option("--stop-at", type=int, help="Stop after so many steps.  [default: the preset's train_steps]")
@click.option("--every", default=1, show_default=True, help="Steps between two points of the loss curve, their mean.")
@click.option("--out", type=click.Path(path_type=Path), default=assets_folder() / "training", help="Folder to write.")
@click.option("--also", multiple=True, help="Checkpoints of the same run, later, to look at as well.")
@click.option("--device", default="auto", show_default=True)
def main(preset: str, stop_at: int | None, every: int, out: Path, also: tuple[str, ...], device: str) -> None:
    """Train and record; the files are written anew at every mark."""
    config = get_preset(preset)
    stop_at = stop_at or config.train_steps
    dataset, test = load_images(config.data), load_images(config.data, "test")
    state = TrainState(config, dataset.shape, device)
    asked = question(state.diffusion, test[:FIRST_IMAGES])
    command = f"python -m tests.benchmarks.training_record {preset} --stop-at {stop_at} --every {every}"
    info = {"command": command, "seed": config.seed, "times": GUESS_TIMES, "sample_steps": SAMPLE_STEPS}
    info = {"data": config.data, "torch": torch.__version__.split("+")[0], **info}
    record, pending = Record(info, asked.xt, [], [], []), []
    for step in train(state, dataset):
        pending.append(step.loss)
        if step.step % every == 0 or step.step == stop_at:
            record.losses.append((step.step, float(torch.stack(pending).mean())))
            pending = []
        if step.step in MARKS or step.step == stop_at:
            record.steps.append(step.step)
            record.looks.append(look(state.averaged(), asked))
            save(record, out, preset)
            click.echo(f"{preset}: step {step.step} of {stop_at}")
        if step.step == stop_at:
            break
    for folder in also:
        record.steps.append(checkpoint.read_settings(folder)["step"])
        record.looks.append(look(checkpoint.load(folder, device), asked))
    save(record, out, preset)


if __name__ == "__main__":
    main()

"""What the scale of guidance does to digits: ``python -m tests.benchmarks.guidance``.

Writes ``assets/guidance.json``, which notebook 15 draws: for every scale and seed how often the shipped classifier
reads the digit that was asked for, how much the images of a digit differ, and the Frechet distance of all samples from
the training images, on two kinds of features. What real images have in their place stands beside.
"""

import json
from pathlib import Path

import click
import torch
from torch import Tensor

from ddpm_lesson import DenoiseDiffusion, checkpoint, load_images, runtime
from ddpm_lesson.evaluate import load_classifier
from ddpm_lesson.sample import dpm_steps, final_samples, guided
from tests.benchmarks.evaluation import rounded
from tests.benchmarks.yardstick import Yardstick

MODEL, SCALES = "digits_guided", (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
FEATURES = ("classifier", "pixels")


def draw(model: DenoiseDiffusion, labels: Tensor, scale: float, steps: int, seed: int) -> Tensor:
    """An image for every label, (N, C, H, W), from the same noise at every scale."""
    shape = (len(labels), *checkpoint.image_shape(MODEL))
    return final_samples(dpm_steps(guided(model, labels, scale), shape, steps, torch.Generator().manual_seed(seed)))


@torch.no_grad()
def agreement(images: Tensor, labels: Tensor) -> float:
    """How often the classifier reads the label."""
    return float((load_classifier("digits", "cpu")(images).argmax(1) == labels).double().mean())


def spread_within(images: Tensor, labels: Tensor) -> float:
    """Standard deviation of a pixel among the images of a label: root of the mean variance over pixels and labels."""
    variances = [images[labels == label].var(0).mean() for label in labels.unique()]
    return float(torch.stack(variances).mean().sqrt())


def said_of(images: Tensor, labels: Tensor) -> dict[str, float]:
    """What is measured without other images."""
    return {"agreement": agreement(images, labels), "spread": spread_within(images, labels)}


@click.command()
@click.option("--n", default=200, show_default=True, help="Samples of every scale and seed, over all digits.")
@click.option("--steps", default=20, show_default=True, help="Of DPM-Solver++(2M).")
@click.option("--seeds", default=8, show_default=True, help="How many.")
@click.option("--out", type=click.Path(path_type=Path), default=runtime.assets_folder() / "guidance.json")
def main(n: int, steps: int, seeds: int, out: Path) -> None:
    """Draw and measure."""
    model, data = checkpoint.load(MODEL, "cpu"), load_images("digits")
    labels = torch.arange(n) % 10
    sticks = {name: Yardstick("digits", name) for name in FEATURES}
    test = load_images("digits", "test")
    real = {"train": said_of(data[:], data.labels), "test": said_of(test[:], test.labels)}
    rows = []
    for seed in range(seeds):
        for scale in SCALES:
            images = draw(model, labels, scale, steps, seed)
            distances = {name: stick.distance(images) for name, stick in sticks.items()}
            rows.append({"scale": scale, "seed": seed, **said_of(images, labels), **distances})
            click.echo(rows[-1], err=True)
    settings = {"step": checkpoint.read_settings(checkpoint.find(MODEL))["step"], "n": n, "steps": steps}
    floors = {name: stick.floor(n) for name, stick in sticks.items()}
    record = {"settings": settings, "real": real, "floors": floors, "rows": rows}
    out.write_text(json.dumps(rounded(record)) + "\n")


if __name__ == "__main__":
    main()

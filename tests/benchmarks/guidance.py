"""What the scale of guidance does: ``python -m tests.benchmarks.guidance``, for digits.

Writes ``assets/guidance.json``, which notebook 15 draws: for every scale and seed how often the shipped classifier
reads the digit that was asked for, how much the images of a digit differ, and the Frechet distance of all samples from
the training images, on two kinds of features. What real images have in their place stands beside. For other weights:

    --model mnist_guided --scales 0,1,1.25,2 --n 1000 --steps 10 --seeds 1 --n-real 60000 --features classifier
    --out FILE
"""

import json
from collections.abc import Sequence
from pathlib import Path

import click
import torch
from torch import Tensor

from ddpm_lesson import DenoiseDiffusion, checkpoint, load_images, runtime
from ddpm_lesson.evaluate import Classifier, load_classifier
from ddpm_lesson.sample import dpm_steps, final_samples, guided
from tests.benchmarks.evaluation import rounded
from tests.benchmarks.yardstick import N_REAL, Yardstick

SCALES = (0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 8.0)
FEATURES = ("classifier", "pixels")
BATCH = 200  # images drawn at once, twenty of each digit


def draw(model: DenoiseDiffusion, labels: Tensor, shape: Sequence[int], scale: float, steps: int, seed: int) -> Tensor:
    """An image of ``shape`` for every label, (N, C, H, W), from the same noise at every scale."""
    generator = torch.Generator().manual_seed(seed)
    return torch.cat(
        [
            final_samples(dpm_steps(guided(model, part, scale), (len(part), *shape), steps, generator))
            for part in labels.split(BATCH)
        ]
    )


@torch.no_grad()
def agreement(images: Tensor, labels: Tensor, reader: Classifier) -> float:
    """How often the classifier reads the label."""
    read = torch.cat([reader(part).argmax(1) for part in images.split(1000)])
    return float((read == labels).double().mean())


def spread_within(images: Tensor, labels: Tensor) -> float:
    """Standard deviation of a pixel among the images of a label: root of the mean variance over pixels and labels."""
    variances = [images[labels == label].var(0).mean() for label in labels.unique()]
    return float(torch.stack(variances).mean().sqrt())


def said_of(images: Tensor, labels: Tensor, reader: Classifier) -> dict[str, float]:
    """What is measured without other images."""
    return {"agreement": agreement(images, labels, reader), "spread": spread_within(images, labels)}


@click.command()
@click.option("--model", "name", default="digits_guided", show_default=True)
@click.option("--scales", default=",".join(f"{scale:g}" for scale in SCALES), show_default=True)
@click.option("--features", default=",".join(FEATURES), show_default=True)
@click.option("--n", default=200, show_default=True, help="Samples of every scale and seed, over all labels.")
@click.option("--n-real", default=N_REAL, show_default=True, help="Training images to compare with, at most.")
@click.option("--steps", default=20, show_default=True, help="Of DPM-Solver++(2M).")
@click.option("--seeds", default=8, show_default=True, help="How many.")
@click.option("--out", type=click.Path(path_type=Path), default=runtime.assets_folder() / "guidance.json")
def main(name: str, scales: str, features: str, n: int, n_real: int, steps: int, seeds: int, out: Path) -> None:
    """Draw and measure."""
    model, folder = checkpoint.load(name, "cpu"), checkpoint.find(name)
    shape, data = checkpoint.image_shape(name), checkpoint.load_config(folder).data
    reader, labels = load_classifier(data, "cpu"), torch.arange(n) % model.eps_model.n_classes
    sticks = {one: Yardstick(data, one, n_real=n_real) for one in features.split(",")}
    sets = {split: load_images(data, split) for split in ("train", "test")}
    rows = []
    for seed in range(seeds):
        for scale in map(float, scales.split(",")):
            images = draw(model, labels, shape, scale, steps, seed)
            distances = {one: stick.distance(images) for one, stick in sticks.items()}
            rows.append({"scale": scale, "seed": seed, **said_of(images, labels, reader), **distances})
            click.echo(rows[-1], err=True)
    record = {
        "settings": {"step": checkpoint.read_settings(folder)["step"], "n": n, "steps": steps},
        "real": {split: said_of(images[:], images.labels, reader) for split, images in sets.items()},
        "floors": {one: stick.floor(n) for one, stick in sticks.items()},
        "rows": rows,
    }
    out.write_text(json.dumps(rounded(record)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

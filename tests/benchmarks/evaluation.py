"""Measure a shipped model for notebook 12: ``python -m tests.benchmarks.evaluation mnist``.

Writes its part of ``assets/evaluation.json``. MNIST is downloaded into ``DDPM_DATA`` if it is not there. Samples are
kept in ``runs/evaluation``, and rows that the file has with the same settings are not measured again, so an
interrupted measurement goes on where it stopped.
"""

import json
from pathlib import Path
from statistics import mean, stdev

import click
import torch
from torch import Tensor

from ddpm_lesson import DenoiseDiffusion, checkpoint, load_images
from ddpm_lesson.evaluate import (
    Classifier,
    bits_per_dim,
    closeness,
    draw_samples,
    extractor,
    features_of,
    frechet_distance,
    gaussian_frechet,
    judge,
    load_classifier,
    moments,
    random_subset,
    rate_distortion,
)
from ddpm_lesson.evaluate.frechet import Moments
from ddpm_lesson.evaluate.report import Closeness
from ddpm_lesson.runtime import assets_folder
from tests.benchmarks.sampling import sample_in_batches

FEATURES = ("classifier", "random", "pixels")
SAMPLERS = "10:0:1000,20:0:1000,50:0:1000,10:1:1000,20:1:1000,50:1:1000,50:1:10000"  # steps:eta:N
SIZES = (150, 200, 300, 500, 1000, 2000, 5000, 10_000)  # N of the curve of the floor
DRAWS = 12  # of so many test images, because floors differ from draw to draw


def rounded(value):
    """A copy with five significant digits in every number, for a small file."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def floor_curves(train: Tensor, test: Tensor, device: torch.device) -> dict[str, dict[str, list[float]]]:
    """The distance between the training images and N test images for growing N, by features.

    N images are drawn ``DRAWS`` times (once, if they are all there are): the mean, and the standard deviation of a
    draw.
    """
    curves = {}
    for name in FEATURES:
        features = extractor(name, tuple(train.shape[1:]))
        real, unseen = (features_of(features, images, device) for images in (train, test))
        sizes = [n for n in SIZES if features.num_features < n <= len(test)]
        whole = moments(real)
        floors = [floors_of(whole, unseen, n) for n in sizes]
        curves[name] = {"n": sizes, "distance": [mean(found) for found in floors], "spread": [*map(spread, floors)]}
    return curves


def floors_of(real: Moments, unseen: Tensor, n: int) -> list[float]:
    """The distance of ``n`` of the unseen features (M, D), for every draw of them."""
    draws = DRAWS if n < len(unseen) else 1
    return [float(gaussian_frechet(*real, *moments(random_subset(unseen, n, seed)))) for seed in range(draws)]


def spread(values: list[float]) -> float:
    """The standard deviation of one draw; 0 where there is one."""
    return stdev(values) if len(values) > 1 else 0.0


def measure_model(diffusion: DenoiseDiffusion, train: Tensor, test: Tensor, n_images: int, seed: int) -> dict:
    """What needs no samples: the curve of the floor, bits per dimension, rate and distortion."""
    images = random_subset(test, n_images)
    full = bits_per_dim(diffusion, images, generator=torch.Generator().manual_seed(seed))
    curve = rate_distortion(diffusion, images[: max(2, n_images // 4)], torch.Generator().manual_seed(seed + 1))
    return {
        "floor": floor_curves(train, test, diffusion.device),
        "bits": {**full._asdict(), "L_t": full.L_t.tolist()},
        "rate_distortion": {part: values.tolist() for part, values in curve._asdict().items() if part != "bits"},
    }


def measure_samples(samples: Tensor, train: Tensor, test: Tensor, classifier: Classifier, device: torch.device) -> dict:
    """What is said of one set of samples."""
    enough = [f for f in FEATURES if len(samples) > extractor(f, tuple(train.shape[1:])).num_features]
    distances = [frechet_distance(f, train, samples, test, device=device)._asdict() for f in enough]
    near: Closeness = closeness(samples[:1000], train, random_subset(test, 1000))
    judgement = judge(classifier, samples)._asdict()
    return {"frechet": distances, "closeness": near._asdict(), "judgement": judgement}


def parse_samplers(text: str) -> list[tuple[int, float, int]]:
    """``"50:1:10000,..."`` -> steps, eta and N of each."""
    return [(int(steps), float(eta), int(n)) for steps, eta, n in (part.split(":") for part in text.split(","))]


@click.command()
@click.argument("name")
@click.option("--data", help="Data set or folder to compare with.  [default: the one it was trained on]")
@click.option("--classifier", "reader", help="Who judges the samples.  [default: the classifier of the data set]")
@click.option("--samplers", default=SAMPLERS, show_default=True, help="steps:eta:N, steps:eta:N, ...")
@click.option("--bits-images", default=100, show_default=True, help="Test images for bits/dim, at all times.")
@click.option("--seed", default=0, show_default=True)
@click.option("--batch-size", default=250, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/evaluation"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=assets_folder() / "evaluation.json")
def main(
    name: str,
    data: str | None,
    reader: str | None,
    samplers: str,
    bits_images: int,
    seed: int,
    batch_size: int,
    device: str,
    work: Path,
    out: Path,
) -> None:
    """Measure a shipped model and write its part of the file."""
    diffusion = checkpoint.load(name, device)
    device = diffusion.device
    data = data or checkpoint.load_config(checkpoint.find(name)).data
    train, test = (load_images(data, split)[:] for split in ("train", "test"))
    classifier = load_classifier(reader or data, device)
    step = checkpoint.read_settings(checkpoint.find(name))["step"]
    settings = {"step": step, "bits_images": min(bits_images, len(test)), "seed": seed, "batch_size": batch_size}
    record = read(out, name, settings)
    if not record["samplers"]:
        record |= measure_model(diffusion, train, test, bits_images, seed)
        record["judgement_real"] = judge(classifier, test)._asdict()

    done = {(row["steps"], row["eta"], row["n"]) for row in record["samplers"]}
    for steps, eta, n in parse_samplers(samplers):
        if (steps, eta, n) in done:
            continue
        samples = sample_in_batches(
            lambda shape, generator, steps=steps, eta=eta: draw_samples(diffusion, shape, steps, eta, generator),
            (n, *train.shape[1:]),
            work / f"{name}-{step}-{steps}-{eta:g}",
            batch_size=batch_size,
            seed=seed,
            label=f"{name}: {steps} steps, eta {eta:g}",
        )
        measured = measure_samples(samples, train, test, classifier, device)
        record["samplers"].append({"steps": steps, "eta": eta, "n": n, **measured})
        write(out, name, rounded(record))
    click.echo(f"{out}: {out.stat().st_size / 1000:.0f} KB")


def read(out: Path, name: str, settings: dict) -> dict:
    """The record of one model so far, if it was made with the same settings."""
    record = json.loads(out.read_text(encoding="utf-8")).get(name, {}) if out.exists() else {}
    return record if record.get("settings") == settings else {"settings": settings, "samplers": []}


def write(out: Path, name: str, record: dict) -> None:
    """Put the record of one model into the file; that of the other stays."""
    records = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    out.write_text(json.dumps({**records, name: record}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

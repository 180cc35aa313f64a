"""``ddpm-lesson evaluate`` and ``train-classifier``, whose classifier it asks."""

import json
from pathlib import Path
from typing import Any

import click
import torch
from tqdm.auto import tqdm

from ddpm_lesson import checkpoint
from ddpm_lesson.cli.group import COUNT, SEED, check_writable, device_option, main, writing
from ddpm_lesson.cli.sample import SOLVERS, n_classes_of, way_back
from ddpm_lesson.data import ImageDataset, load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.evaluate import (
    EXTRACTORS,
    Classifier,
    EvaluationError,
    accuracy,
    check_evaluation,
    evaluate,
    extractor,
    features_of_classifier,
    in_batches,
    load_classifier,
    save_classifier,
    train_classifier,
    unseen,
)
from ddpm_lesson.pictures import grid_image
from ddpm_lesson.runtime import get_device, needs, seed_everything


@main.command("evaluate", epilog="Data sets that need a download come from the folder that DDPM_DATA names.")
@click.argument("model", metavar="FOLDER_OR_NAME")
@click.option("--data", help="Data set to compare with.  [default: the one it was trained on]")
@click.option(
    "--out", type=click.Path(path_type=Path), default="evaluation", show_default=True, help="Folder to write."
)
@click.option("--n", "n_samples", type=COUNT, default=1000, show_default=True, help="Samples to draw.")
@click.option("--solver", type=click.Choice(list(SOLVERS)), default="ddim", show_default=True, help="How to go back.")
@click.option("--steps", type=int, help="How many steps.  [default: as in 'sample']")
@click.option("--eta", type=float, help="Randomness of the DDIM sampler, 0 to 1.  [default: 0]")
@click.option("--scale", type=float, help="Guidance: ask for every label in turn.  [default: ask for none]")
@click.option("--features", type=click.Choice(list(EXTRACTORS)), default="classifier", show_default=True)
@click.option("--classifier", help="Folder or name of a classifier.  [default: the data set's, if one is shipped]")
@click.option(
    "--bits-images", type=click.IntRange(2, 100_000), default=100, show_default=True, help="Images for bits/dim."
)
@click.option("--bits-times", default=20, show_default=True, help="Terms of the bound an image; 0 for all.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@device_option
def evaluate_command(
    model: str,
    data: str | None,
    out: Path,
    n_samples: int,
    solver: str,
    steps: int | None,
    eta: float | None,
    scale: float | None,
    seed: int,
    device: str,
    **rest: Any,
) -> None:
    """Measure a trained model: Frechet distance, bits/dim, nearest training images, what a classifier says.

    Compares with the training images; the test images give the floor. Writes evaluation.json and grid.png.
    """
    needs("torchmetrics", extra="evaluate")
    diffusion = checkpoint.load(model, device)
    shape = (n_samples, *checkpoint.image_shape(model))
    draw, n_steps = way_back(diffusion, all_labels(diffusion, scale), scale, solver, steps, eta)
    training, held_out, data = real_images(model, data)
    held_out = unseen(held_out, training)
    classifier = fitting_classifier(rest["classifier"], data, shape[1:], diffusion.device)
    if classifier and rest["features"] == "classifier":
        features = features_of_classifier(classifier, rest["classifier"] or data)
    else:
        features = extractor(rest["features"], shape[1:])
    n_times, generator = rest["bits_times"] or None, torch.Generator().manual_seed(seed)
    check_evaluation(diffusion, shape, training, held_out, features, classifier, n_times)
    check_writable(out)
    with tqdm(total=n_samples, desc="sample", unit="image") as bar:
        samples = in_batches(draw, shape, generator, bar.update)
    measured = evaluate(
        diffusion,
        samples,
        training,
        held_out,
        features=features,
        classifier=classifier,
        n_bits=rest["bits_images"],
        n_times=n_times,
        generator=generator,
    )
    click.echo("\n\n".join(measured.tables()))
    how = {"solver": solver, "steps": n_steps, "eta": eta, "scale": scale}
    settings = {"model": model, "data": data, "n": n_samples, **how, "seed": seed}
    with writing(out):
        text = json.dumps({**settings, **measured.record()}, indent=2) + "\n"
        (out / "evaluation.json").write_text(text, encoding="utf-8")
        grid_image(samples[:64]).save(out / "grid.png")
    click.echo(f"{out / 'evaluation.json'}, {out / 'grid.png'}")


def all_labels(model: DenoiseDiffusion, scale: float | None) -> tuple[int, ...]:
    """Every label, to be drawn in turn, if a scale asks for them; ValueError if the model takes none."""
    if scale is None:
        return ()
    if not (n_classes := n_classes_of(model)):
        raise ValueError(f"scale must be left out: this model takes no labels; got {scale:g}")
    return tuple(range(n_classes))


def real_images(model: str, data: str | None) -> tuple[torch.Tensor, torch.Tensor, str]:
    """Training and held-out images to compare a model with, scaled as in its run, and what they are called."""
    folder = checkpoint.find(model)
    if "training" not in checkpoint.read_settings(folder):
        if data is None:
            raise ValueError(f"{model} does not say what it was trained on: name images to compare with, with --data")
        name, image_size = data, None
    else:
        config = checkpoint.load_config(folder)
        name, image_size = config.data if data is None else data, config.image_size
    try:
        training, held_out = (load_images(name, split, image_size)[:] for split in ("train", "test"))
    except ValueError as error:
        if data is None:
            advice = "name images to compare with, with --data"
            raise ValueError(f"{model} was trained on {name!r}, which is not here: {advice} ({error})") from error
        raise
    return training, held_out, name


def fitting_classifier(
    name: str | None, data: str, shape: tuple[int, int, int], device: torch.device
) -> Classifier | None:
    """The classifier that the user names, or the data set's, or None if there is none for images of this shape."""
    try:
        classifier = load_classifier(name or data, device)
    except EvaluationError:
        if name:
            raise
        return None
    return classifier if name or classifier.image_shape == shape else None


@main.command("train-classifier")
@click.argument("data", metavar="DATA_SET_OR_FOLDER")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [default: runs/classifier-DATA]")
@click.option("--n-channels", type=COUNT, default=32, show_default=True, help="Channels of the first convolution.")
@click.option("--n-features", type=COUNT, default=128, show_default=True, help="Width of the last hidden layer.")
@click.option("--epochs", type=COUNT, default=4, show_default=True, help="Passes over the training images.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@device_option
def train_classifier_command(
    data: str, out: Path | None, n_channels: int, n_features: int, epochs: int, seed: int, device: str
) -> None:
    """Train the classifier that 'evaluate' asks, on a data set with labels."""
    folder = out or Path("runs") / f"classifier-{Path(data).name}"
    checkpoint.check_free(folder)
    training, test = training_and_test(data)
    check_writable(folder)
    n_classes = len(training.classes)
    seed_everything(seed)
    classifier = Classifier(training.shape, max(n_classes, 1), n_channels, n_features).to(get_device(device))
    steps = train_classifier(classifier, training, epochs, seed)
    for state in (bar := tqdm(steps, total=epochs * len(training) // 128, desc="train", unit="step")):
        bar.set_postfix(loss=f"{state.loss:.3f}")
    right = accuracy(classifier, test)
    save_classifier(classifier, folder, data=data, epochs=epochs, seed=seed, accuracy=round(right, 4))
    click.echo(f"{folder}: {right:.2%} of {len(test):,} test images right")


def training_and_test(data: str) -> tuple[ImageDataset, ImageDataset]:
    """Both splits of a data set; if they are the same images, every tenth one is put aside, and that is said."""
    training, test = (load_images(data, split) for split in ("train", "test"))
    if not torch.equal(training.images, test.images):
        return training, test
    click.echo(f"{data} has no images to test with: every tenth one is put aside")
    aside = torch.arange(len(test)) % 10 == 9
    return training.part(~aside), test.part(aside)

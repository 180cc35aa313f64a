"""The command line: ``ddpm-lesson train``, ``sample``, ``evaluate``, ``export``, ``import`` and the rest."""

import json
import types
import typing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import torch
from tqdm.auto import tqdm

from ddpm_lesson import checkpoint
from ddpm_lesson.data import DataError, load_images
from ddpm_lesson.evaluate import (
    EXTRACTORS,
    Classifier,
    EvaluationError,
    accuracy,
    draw_samples,
    evaluate,
    extractor,
    load_classifier,
    save_classifier,
    train_classifier,
)
from ddpm_lesson.pictures import grid_image, save_gif
from ddpm_lesson.run import run
from ddpm_lesson.runtime import get_device, needs, rank, seed_everything
from ddpm_lesson.sample import ddim_steps, ddpm_steps
from ddpm_lesson.train import PRESETS, TrainConfig, get_preset

GIF_FRAMES = 40  # states of the reverse process in an animation
GIF_SIDE = 200  # least width of an animation in pixels; noise does not compress
EXPECTED = (
    *(ValueError, FileExistsError, FloatingPointError, ImportError),
    *(DataError, EvaluationError, checkpoint.CheckpointError),
)


class Commands(click.Group):
    """A group whose commands report foreseeable mistakes in one sentence, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EXPECTED as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ddpm-lesson")
def main() -> None:
    """Train and sample denoising diffusion models (Ho et al. 2020)."""


class ListOf(click.ParamType):
    """Comma-separated values: ``1,2,2`` or ``no,yes,no``."""

    def __init__(self, item: type):
        self.item = click.BOOL if item is bool else click.INT
        self.name = "no,yes,.." if item is bool else "int,int,.."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple:
        parts = value if isinstance(value, tuple) else value.split(",")
        return tuple(self.item.convert(part, param, ctx) for part in parts)


def option_type(annotation: Any) -> Any:
    """The click type for the annotation of a ``TrainConfig`` field."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return ListOf(arguments[0])
    return arguments[0] if isinstance(annotation, types.UnionType) else annotation


def config_options(command: click.Command) -> click.Command:
    """Give ``command`` one option for every field of ``TrainConfig``; which brings its help text."""
    hints = typing.get_type_hints(TrainConfig)
    for f in fields(TrainConfig):
        name = f.name.replace("_", "-")
        flag = f"--{name}/--no-{name}" if hints[f.name] is bool else f"--{name}"
        kind = None if hints[f.name] is bool else option_type(hints[f.name])
        command.params.append(click.Option([flag], type=kind, default=None, help=f.metadata["help"]))
    return command


@config_options
@main.command(
    "train",
    epilog=f"Presets: {', '.join(PRESETS)}. Settings that are left out come from the preset, or from the run that is "
    "resumed.",
)
@click.argument("preset")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/PRESET]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--resume", is_flag=True, help="Go on from the run in the folder, if there is one.")
def train_command(preset: str, out: Path | None, device: str, resume: bool, **settings: Any) -> None:
    """Train a model. Ctrl-C saves everything and stops; --resume goes on."""
    overrides = {name: value for name, value in settings.items() if value is not None}
    folder = out or Path("runs") / preset
    if resume and (folder / checkpoint.SETTINGS).is_file():
        config = resumed_config(folder, preset, overrides)
    else:
        config = get_preset(preset, **overrides)
    run(config, folder, device, resume=resume)
    if rank() == 0:
        click.echo(f"{folder}: weights, loss curve and samples/. Draw more with: ddpm-lesson sample {folder}")


def resumed_config(folder: Path, preset: str, overrides: dict[str, Any]) -> TrainConfig:
    """The settings of the run in ``folder``, with what the user changed; ValueError if it is of another preset."""
    stored = checkpoint.load_config(folder)
    wanted = overrides.get("data", get_preset(preset).data)
    if wanted != stored.data:
        raise ValueError(f"the run in {folder} trains on {stored.data!r}, not on {wanted!r}; name another --out")
    return replace(stored, **overrides)


@main.command("sample")
@click.argument("model", metavar="FOLDER_OR_NAME")
@click.option("--out", type=click.Path(path_type=Path), default="samples", show_default=True, help="Folder to write.")
@click.option("--n", "n_samples", type=click.IntRange(1), default=64, show_default=True, help="How many images.")
@click.option("--steps", type=int, help="Steps of the DDIM sampler.  [default: all steps of DDPM]")
@click.option("--eta", type=float, default=0.0, show_default=True, help="Randomness of the DDIM sampler, 0 to 1.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
def sample_command(
    model: str, out: Path, n_samples: int, steps: int | None, eta: float, seed: int, device: str
) -> None:
    """Draw images from a trained model: a folder that 'train' wrote, or shipped weights (digits, mnist, cifar10_small).

    Writes grid.png and reverse.gif, the way from noise to images. --steps 50 is twenty times faster than all 1000.
    """
    diffusion = checkpoint.load(model, device)
    shape = (n_samples, *checkpoint.image_shape(model))
    generator = torch.Generator().manual_seed(seed)
    if steps is None:
        states, total = ddpm_steps(diffusion, shape, generator), diffusion.n_steps
    else:
        states, total = ddim_steps(diffusion, shape, steps, eta, generator), steps
    frames = []
    for i, state in enumerate(tqdm(states, total=total, desc="sample", unit="step")):
        if i * GIF_FRAMES // total > (i - 1) * GIF_FRAMES // total:
            frames.append(grid_image(state.xt, min_side=GIF_SIDE))
    frames.append(grid_image(state.x0_hat, min_side=GIF_SIDE))
    out.mkdir(parents=True, exist_ok=True)
    grid_image(state.x0_hat).save(out / "grid.png")
    save_gif(frames, out / "reverse.gif")
    click.echo(f"{out / 'grid.png'}, {out / 'reverse.gif'}")


@main.command("evaluate", epilog="Data sets that need a download come from the folder that DDPM_DATA names.")
@click.argument("model", metavar="FOLDER_OR_NAME")
@click.option("--data", help="Data set to compare with.  [default: the one it was trained on]")
@click.option(
    "--out", type=click.Path(path_type=Path), default="evaluation", show_default=True, help="Folder to write."
)
@click.option("--n", "n_samples", type=click.IntRange(2), default=1000, show_default=True, help="Samples to draw.")
@click.option("--steps", default=50, show_default=True, help="Steps of the DDIM sampler.")
@click.option("--eta", default=0.0, show_default=True, help="Randomness of the DDIM sampler, 0 to 1.")
@click.option("--features", type=click.Choice(list(EXTRACTORS)), default="classifier", show_default=True)
@click.option("--classifier", help="Folder or name of a classifier.  [default: the data set's, if one is shipped]")
@click.option("--bits-images", type=click.IntRange(2), default=100, show_default=True, help="Images for bits/dim.")
@click.option("--bits-times", default=20, show_default=True, help="Terms of the bound an image; 0 for all.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
def evaluate_command(
    model: str,
    data: str | None,
    out: Path,
    n_samples: int,
    steps: int,
    eta: float,
    seed: int,
    device: str,
    **rest: Any,
) -> None:
    """Measure a trained model: Frechet distance, bits/dim, nearest training images, what a classifier says.

    Compares with the training images; the test images give the floor. Writes evaluation.json and grid.png.
    """
    needs("torchmetrics", extra="evaluate")
    diffusion = checkpoint.load(model, device)
    data = data or checkpoint.load_config(checkpoint.find(model)).data
    training, held_out = (load_images(data, split)[:] for split in ("train", "test"))
    classifier = fitting_classifier(rest["classifier"], data, diffusion.device)
    features = extractor(rest["features"], training.shape[1:])
    generator = torch.Generator().manual_seed(seed)
    with tqdm(total=n_samples, desc="sample", unit="image") as bar:
        shape = (n_samples, *checkpoint.image_shape(model))
        samples = draw_samples(diffusion, shape, steps, eta, generator, bar.update)
    measured = evaluate(
        diffusion,
        samples,
        training,
        held_out,
        features=features,
        classifier=classifier,
        n_bits=rest["bits_images"],
        n_times=rest["bits_times"] or None,
        generator=generator,
    )
    settings = {"model": model, "data": data, "n": n_samples, "steps": steps, "eta": eta, "seed": seed}
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.json").write_text(json.dumps({**settings, **measured.record()}, indent=2) + "\n")
    grid_image(samples[:64]).save(out / "grid.png")
    click.echo("\n\n".join(measured.tables()))
    click.echo(f"{out / 'evaluation.json'}, {out / 'grid.png'}")


def fitting_classifier(name: str | None, data: str, device: torch.device) -> Classifier | None:
    """The classifier that the user names, or the data set's, or None if there is none."""
    try:
        return load_classifier(name or data, device)
    except EvaluationError:
        if name:
            raise
        return None


@main.command("train-classifier")
@click.argument("data", metavar="DATA_SET_OR_FOLDER")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [default: runs/classifier-DATA]")
@click.option("--n-channels", default=32, show_default=True, help="Channels of the first convolution.")
@click.option("--n-features", default=128, show_default=True, help="Width of the last hidden layer.")
@click.option("--epochs", default=4, show_default=True, help="Passes over the training images.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
def train_classifier_command(
    data: str, out: Path | None, n_channels: int, n_features: int, epochs: int, seed: int, device: str
) -> None:
    """Train the classifier that 'evaluate' asks, on a data set with labels."""
    training, test = (load_images(data, split) for split in ("train", "test"))
    n_classes = len(training.classes)
    seed_everything(seed)
    classifier = Classifier(training.shape, max(n_classes, 1), n_channels, n_features).to(get_device(device))
    steps = train_classifier(classifier, training, epochs, seed)
    for state in (bar := tqdm(steps, total=epochs * len(training) // 128, desc="train", unit="step")):
        bar.set_postfix(loss=f"{state.loss:.3f}")
    folder = out or Path("runs") / f"classifier-{Path(data).name}"
    right = accuracy(classifier, test)
    save_classifier(classifier, folder, data=data, epochs=epochs, seed=seed, accuracy=round(right, 4))
    click.echo(f"{folder}: {right:.2%} of {len(test):,} test images right")


@main.command("export")
@click.argument("model", metavar="FOLDER_OR_NAME")
@click.argument("folder", type=click.Path(path_type=Path))
def export_command(model: str, folder: Path) -> None:
    """Write a trained model as a pipeline of diffusers: one that 'train' wrote, or shipped weights."""
    diffusion = checkpoint.load(model, "cpu")
    _, height, width = checkpoint.image_shape(model)
    checkpoint.to_diffusers(diffusion, folder, height if height == width else (height, width))
    pipeline = f"diffusers.DDPMPipeline.from_pretrained({str(folder)!r})"
    click.echo(f"Draw from it with: {pipeline}(num_inference_steps={diffusion.n_steps})")


@main.command("import")
@click.argument("pipeline", metavar="FOLDER_OR_HUB_ID")
@click.argument("folder", type=click.Path(path_type=Path))
def import_command(pipeline: str, folder: Path) -> None:
    """Turn a pipeline of diffusers into a model of ours, for example google/ddpm-cifar10-32 from the hub."""
    if (folder / checkpoint.SETTINGS).exists():
        raise FileExistsError(f"{folder} already holds a model: choose another folder")
    checkpoint.import_diffusers(pipeline, folder)
    click.echo(f"{folder}: draw from it with: ddpm-lesson sample {folder}")

"""The command line: ``ddpm-lesson train``, ``sample``, ``evaluate``, ``export``, ``import`` and the rest."""

import contextlib
import json
import os
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import torch
from tqdm.auto import tqdm

from ddpm_lesson import checkpoint, exchange
from ddpm_lesson.data import DATASETS, DataError, ImageDataset, load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.doctor import DoctorError, examine, patient_of
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
from ddpm_lesson.flow import FlowMatching, flow_steps
from ddpm_lesson.pictures import grid_image, save_gif
from ddpm_lesson.run import Stop, run
from ddpm_lesson.runtime import get_device, needs, rank, seed_everything
from ddpm_lesson.sample import ddim_steps, ddpm_steps, dpm_steps, guided, heun_steps
from ddpm_lesson.train import PRESETS, TrainConfig, TrainState, get_preset
from ddpm_lesson.unet import UNet

GIF_FRAMES = 40  # states of the reverse process in an animation
GIF_SIDE = 200  # least width of an animation in pixels; noise does not compress
BATCH = 100  # images that are sampled at once
SOLVERS = {"ddpm": ddpm_steps, "ddim": ddim_steps, "heun": heun_steps, "dpm": dpm_steps}  # of a diffusion
FLOW_SOLVERS = ("euler", "heun")
STEPS = {"ddim": 50, "heun": 18, "dpm": 20, "euler": 50}  # unless given
SCALE = 2.0  # of guidance, unless given
COUNT, SEED = click.IntRange(1, 100_000), click.IntRange(0, 2**32 - 1)
UNREADABLE = 2  # exit status of the doctor for what is no patient
INTERRUPTED = 128 + 2  # what a shell makes of Ctrl-C
EXPECTED = (
    *(ValueError, OSError, FloatingPointError, ImportError),
    *(DataError, EvaluationError, checkpoint.CheckpointError),
)


class Commands(click.Group):
    """A group whose commands report foreseeable mistakes in one sentence, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(INTERRUPTED)
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
    """Give ``command`` one option for every field of ``TrainConfig``, which brings its help text."""
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
    """Train a model. Ctrl-C saves everything and stops; --resume goes on.

    A run goes on with its own settings. Those that would have changed the steps already taken cannot change, and
    --data may only say where the same images lie now.
    """
    overrides = {name: value for name, value in settings.items() if value is not None}
    folder = out or Path("runs") / preset
    if resume and checkpoint.holds_run(folder):
        config = replace(checkpoint.load_config(folder), **overrides)
        note_other_preset(preset, config)
    else:
        config = get_preset(preset, **overrides)
    stop = Stop()
    state = run(config, folder, device, resume=resume, stop=stop)
    if rank() == 0:
        click.echo(outcome(folder, state, f"ddpm-lesson train {preset} --resume --out {folder}"))
    if stop.is_set():
        sys.exit(128 + stop.number)


def note_other_preset(preset: str, config: TrainConfig) -> None:
    """Say so if a run on a known data set goes on under the name of a preset for another; ValueError if it is none."""
    other = get_preset(preset).data
    if config.data in DATASETS and config.data != other and rank() == 0:
        click.echo(f"This run trains on {config.data!r}, and not on {other!r} as the preset does.")


def outcome(folder: Path, state: TrainState, again: str) -> str:
    """The last line of a training: what there is now, and the command that makes more of it."""
    if state.step < state.config.train_steps:
        return f"{folder}: step {state.step:,} of {state.config.train_steps:,}. Go on with: {again}"
    pictures = [name for name in ("loss.png", "samples") if (folder / name).exists()]
    return f"{folder}: {', '.join(['weights', *pictures])}. Draw more with: ddpm-lesson sample {folder}"


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make a folder for what the ``with`` block writes; what goes wrong there is a sentence."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write into {folder}: {error.strerror or error}") from error


def check_writable(folder: Path) -> None:
    """Find out before the work whether its results can be written into ``folder``, and leave nothing behind."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    with writing(folder), tempfile.TemporaryFile(dir=folder):
        pass
    with contextlib.suppress(OSError):  # somebody else writes there already
        for part in missing:  # whoever is told of a mistake later on has no empty folder to remove
            part.rmdir()


@main.command("sample")
@click.argument("model", metavar="FOLDER_OR_NAME")
@click.option("--out", type=click.Path(path_type=Path), default="samples", show_default=True, help="Folder to write.")
@click.option("--n", "n_samples", type=COUNT, default=64, show_default=True, help="How many images.")
@click.option(
    "--label",
    "labels",
    type=click.IntRange(0),
    multiple=True,
    help="Class to draw, for a model that takes labels; several are drawn in turn.  [default: any]",
)
@click.option("--scale", type=float, help=f"Guidance: 1 follows the label, more exaggerates it.  [default: {SCALE:g}]")
@click.option(
    "--solver",
    type=click.Choice([*SOLVERS, "euler"]),
    help="How to go back.  [default: ddpm, ddim with --steps or --eta, or euler for a flow]",
)
@click.option(
    "--steps",
    type=int,
    help=f"How many steps.  [default: all of ddpm, {', '.join(f'{n} of {solver}' for solver, n in STEPS.items())}]",
)
@click.option("--eta", type=float, help="Randomness of the DDIM sampler, 0 to 1.  [default: 0]")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
def sample_command(model: str, out: Path, n_samples: int, seed: int, device: str, **choices: Any) -> None:
    """Draw images from a trained model: a folder that 'train' wrote, or shipped weights such as mnist.

    Writes grid.png and reverse.gif, the way from noise to images (of the first 100, if there are more). --steps 50 is
    twenty times faster than all 1000; --solver dpm needs ten or twenty.

    mnist_guided and digits_guided draw what you ask for: --label 7 --scale 3, or two things: --label 7 --label 8.
    """
    draw, total = way_back(checkpoint.load_any(model, device), **choices)
    check_writable(out)
    shape, generator = checkpoint.image_shape(model), torch.Generator().manual_seed(seed)
    batches, frames, samples = range(0, n_samples, BATCH), [], []
    with tqdm(total=total * len(batches), desc="sample", unit="step") as bar:
        for first in batches:
            for i, state in enumerate(draw((min(BATCH, n_samples - first), *shape), generator=generator)):
                bar.update()
                if first == 0 and i * GIF_FRAMES // total > (i - 1) * GIF_FRAMES // total:
                    frames.append(grid_image(state.xt, min_side=GIF_SIDE))
            samples.append(state.x0_hat.cpu())
    frames.append(grid_image(samples[0], min_side=GIF_SIDE))
    with writing(out):
        grid_image(torch.cat(samples)).save(out / "grid.png")
        save_gif(frames, out / "reverse.gif")
    click.echo(f"{out / 'grid.png'}, {out / 'reverse.gif'}")


def way_back(
    model: DenoiseDiffusion | FlowMatching,
    labels: tuple[int, ...],
    scale: float | None,
    solver: str | None,
    steps: int | None,
    eta: float | None,
) -> tuple[Callable[..., Iterator[Any]], int]:
    """What draws a batch of a shape, and in how many steps; ValueError if choices do not fit model or each other."""
    flow, n_classes = isinstance(model, FlowMatching), n_classes_of(model)
    solver = solver or ("euler" if flow else "ddpm" if steps is None and eta is None else "ddim")
    if solver not in (known := FLOW_SOLVERS if flow else SOLVERS):
        kind = "a flow" if flow else "a diffusion"
        raise ValueError(f"solver must be one of {', '.join(known)} for {kind}; got {solver}")
    if eta is not None and solver != "ddim":
        raise ValueError(f"eta belongs to the solver ddim; got {eta:g} for {solver}")
    if scale is not None and not labels:
        raise ValueError(f"scale belongs to a label: give --label too; got {scale:g} without")
    for label in labels:
        if not (n_classes and label < n_classes):
            right = f"be one of 0 .. {n_classes - 1}" if n_classes else "be left out: this model takes no labels"
            raise ValueError(f"label must {right}; got {label}")
    if isinstance(model, FlowMatching):
        return flow_way_back(model, labels, scale, solver, STEPS[solver] if steps is None else steps)
    n_steps = min(STEPS.get(solver, model.n_steps), model.n_steps) if steps is None else steps
    options: dict[str, Any] = {"n_steps": n_steps} | ({"eta": eta or 0.0} if solver == "ddim" else {})

    def draw(shape: tuple[int, ...], generator: torch.Generator) -> Iterator[Any]:
        asked = guided(model, in_turn(labels, shape[0]), SCALE if scale is None else scale) if labels else model
        return SOLVERS[solver](asked, shape, generator=generator, **options)

    return draw, n_steps


def in_turn(labels: tuple[int, ...], n: int) -> torch.Tensor:
    """A label for each of ``n`` images, one after the other and again from the first."""
    return torch.tensor([labels[i % len(labels)] for i in range(n)])


def n_classes_of(model: DenoiseDiffusion | FlowMatching) -> int | None:
    """How many classes the labels of a model tell apart; None without labels."""
    network = model.eps_model
    return network.n_classes if isinstance(network, UNet) else None


def all_labels(model: DenoiseDiffusion, scale: float | None) -> tuple[int, ...]:
    """Every label, to be drawn in turn, if a scale asks for them; ValueError if the model takes none."""
    if scale is None:
        return ()
    if not (n_classes := n_classes_of(model)):
        raise ValueError(f"scale must be left out: this model takes no labels; got {scale:g}")
    return tuple(range(n_classes))


def flow_way_back(
    model: FlowMatching, labels: tuple[int, ...], scale: float | None, solver: str, steps: int
) -> tuple[Callable[..., Iterator[Any]], int]:
    """``way_back`` of a flow."""
    if scale not in (None, 1):
        raise ValueError(f"scale must be left out for a flow, which follows its label as it is; got {scale:g}")

    def draw(shape: tuple[int, ...], generator: torch.Generator) -> Iterator[Any]:
        class_labels = in_turn(labels, shape[0]).to(model.device) if labels else None
        return flow_steps(model, shape, steps, generator, solver=solver, class_labels=class_labels)

    return draw, steps


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
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
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
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
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


@main.command("doctor", epilog="Exit status: 0 healthy, 1 sick, 2 cannot be read.")
@click.argument("model", metavar="FOLDER_OR_MODULE")
@click.option("--data", help="Images to ask about.  [default: the model's own]")
def doctor_command(model: str, data: str | None) -> None:
    """Look at a trained model and say what is wrong with it, in sentences.

    A folder that 'train' wrote, the name of shipped weights, or module:function: a function of yours that returns a
    DenoiseDiffusion, or a network that predicts noise and its alpha_bar.
    """
    sys.path.insert(0, os.getcwd())  # where a module of one's own lies
    try:
        patient = patient_of(model, data)
    except (*EXPECTED, DoctorError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(UNREADABLE)
    found = list(examine(patient))
    for name, (ok, sentence) in found:
        click.echo(f"{'ok  ' if ok else 'SICK'}  {name}: {sentence}")
    sys.exit(not all(finding.ok for _, finding in found))


@main.command("export")
@click.argument("model", metavar="FOLDER_OR_NAME")
@click.argument("folder", metavar="FOLDER_OR_FILE.onnx", type=click.Path(path_type=Path))
def export_command(model: str, folder: Path) -> None:
    """Write a trained model, or shipped weights, as a pipeline of diffusers; or its network as an ONNX file."""
    _, height, width = checkpoint.image_shape(model)
    size = height if height == width else (height, width)
    if folder.suffix == ".onnx":
        with writing(folder.parent):
            exchange.to_onnx(checkpoint.load_any(model, "cpu").eps_model, folder, size)
        click.echo(f"Open it with: onnxruntime.InferenceSession({str(folder)!r})")
        return
    diffusion = checkpoint.load(model, "cpu")
    exchange.to_diffusers(diffusion, folder, size)
    if n_classes_of(diffusion):
        network = f"diffusers.UNet2DModel.from_pretrained({str(folder)!r}, subfolder='unet')"
        click.echo(f"A pipeline has no labels to give: ask {network} for its class_labels yourself")
        return
    pipeline = f"diffusers.DDPMPipeline.from_pretrained({str(folder)!r})"
    click.echo(f"Draw from it with: {pipeline}(num_inference_steps={diffusion.n_steps})")


@main.command("import")
@click.argument("pipeline", metavar="FOLDER_OR_HUB_ID")
@click.argument("folder", type=click.Path(path_type=Path))
def import_command(pipeline: str, folder: Path) -> None:
    """Turn a pipeline of diffusers into a model of ours, for example google/ddpm-cifar10-32 from the hub."""
    checkpoint.check_free(folder)
    exchange.import_diffusers(pipeline, folder)
    click.echo(f"{folder}: draw from it with: ddpm-lesson sample {folder}")

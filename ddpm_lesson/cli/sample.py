"""``ddpm-lesson sample``: which solver goes which way back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import torch
from tqdm.auto import tqdm

from ddpm_lesson import checkpoint
from ddpm_lesson.cli.group import COUNT, MOST, SEED, check_writable, device_option, main, writing
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.flow import FlowMatching, flow_steps
from ddpm_lesson.pictures import grid_image, save_gif
from ddpm_lesson.sample import ddim_steps, ddpm_steps, dpm_steps, guided, heun_steps
from ddpm_lesson.unet import UNet

GIF_FRAMES = 40  # states of the reverse process in an animation
GIF_SIDE = 200  # least width of an animation in pixels; noise does not compress
BATCH = 100  # images that are sampled at once
SOLVERS = {"ddpm": ddpm_steps, "ddim": ddim_steps, "heun": heun_steps, "dpm": dpm_steps}  # of a diffusion
FLOW_SOLVERS = ("euler", "heun")
STEPS = {"ddim": 50, "heun": 18, "dpm": 20, "euler": 50}  # unless given
LEAST = {"heun": 2, "dpm": 2}  # steps of second order need two
SCALE = 2.0  # of guidance, unless given


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
@device_option
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
        return flow_way_back(model, labels, scale, solver, chosen_steps(steps, solver, MOST))
    n_steps = chosen_steps(steps, solver, model.n_steps)
    options: dict[str, Any] = {"n_steps": n_steps} | ({"eta": eta or 0.0} if solver == "ddim" else {})

    def draw(shape: tuple[int, ...], generator: torch.Generator) -> Iterator[Any]:
        asked = guided(model, in_turn(labels, shape[0]), SCALE if scale is None else scale) if labels else model
        return SOLVERS[solver](asked, shape, generator=generator, **options)

    return draw, n_steps


def chosen_steps(steps: int | None, solver: str, most: int) -> int:
    """How many steps to take, the solver's own number unless given; ValueError if they are too few or too many."""
    if steps is None:
        return min(STEPS.get(solver, most), most)
    if not (least := LEAST.get(solver, 1)) <= steps <= most:
        raise ValueError(f"steps must be in {least} .. {most:,} for the solver {solver}; got {steps}")
    return steps


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


def in_turn(labels: tuple[int, ...], n: int) -> torch.Tensor:
    """A label for each of ``n`` images, one after the other and again from the first."""
    return torch.tensor([labels[i % len(labels)] for i in range(n)])


def n_classes_of(model: DenoiseDiffusion | FlowMatching) -> int | None:
    """How many classes the labels of a model tell apart; None without labels."""
    network = model.eps_model
    return network.n_classes if isinstance(network, UNet) else None

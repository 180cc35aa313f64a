"""Ours beside what people would pick instead: ``make bench``, or ``python -m tests.benchmarks.bench``.

Training steps and network evaluations of the sampler, in images a second, taken in turns so that all meet the same
machine. Memory is that of a process of its own. Every side does what its own documentation does for a step: the loss,
the gradients, its optimiser, and where it has them clipping and an average of the weights. Runs on a GPU unchanged.

    --ways        our step in several ways instead: bf16, channels last, compiled
"""

import copy
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ddpm_lesson import get_device, get_preset
from ddpm_lesson.data import DATASETS, ImageDataset
from ddpm_lesson.exchange import LABML, diffusers_unet, labml_unet
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.runtime import assets_folder, autocast, describe_machine, settle_precision
from ddpm_lesson.sample import ddpm_steps
from ddpm_lesson.train import TrainConfig, TrainState, build_diffusion, train
from ddpm_lesson.train.loop import average_with_warmup, laid_out
from ddpm_lesson.unet import UNet

SHAPE = DATASETS["cifar10"]
ENDLESS = 10**9  # training steps
PAPER = replace(get_preset("cifar10"), n_channels=32, batch_size=32, train_steps=ENDLESS)


class Side(NamedTuple):
    """One who takes part: what it does for a training step and for a step of its sampler, and its network."""

    train: Callable[[], object]
    sample: Callable[[], object]
    network: nn.Module


@dataclass(frozen=True)
class Contest:
    """Ours against one peer.

    Attributes:
        package: what has to be installed, as Python and as the package index call it.
        about: what the two have in common.
        config: ours.
        theirs: makes the peer's side for a device and a precision.
        choices: of our network that make it the peer's, beyond the config.
    """

    package: tuple[str, str]
    about: str
    config: TrainConfig
    theirs: Callable[[TrainConfig, torch.device, str], Side]
    choices: dict = field(default_factory=dict)


def some_images(config: TrainConfig, device: torch.device) -> ImageDataset:
    """Noise as images, a few batches of it, on the device."""
    shape = (4 * config.batch_size, *SHAPE)
    return ImageDataset(torch.randint(256, shape, dtype=torch.uint8)).near(device)


def endless(steps: Callable[[], Iterator]) -> Callable[[], object]:
    """A function that takes the next step of an iterator, and begins a new one where it ends."""
    current = [steps()]

    def step() -> object:
        try:
            return next(current[0])
        except StopIteration:
            current[0] = steps()
            return next(current[0])

    return step


def ours(config: TrainConfig, device: torch.device, precision: str, choices: dict) -> Side:
    """The package as its commands use it, except for the choices of the network that a peer has built in."""
    state = TrainState(replace(config, mixed_precision=precision), SHAPE, device)
    if choices:
        network = state.diffusion.eps_model = UNet(**state.diffusion.eps_model.settings | choices)
        laid_out(state.diffusion.to(state.diffusion.device), state.config)
        state.ema = AveragedModel(network, multi_avg_fn=average_with_warmup(config.ema_decay))
        state.optimizer = type(state.optimizer)(network.parameters(), **state.optimizer.defaults)
    steps = train(state, some_images(config, device))
    averaged, shape = state.averaged(), (config.batch_size, *SHAPE)
    draw = endless(lambda: ddpm_steps(averaged, shape))
    return Side(lambda: next(steps), in_precision(draw, device, state.config.mixed_precision), state.ema.module)


def in_precision(call: Callable[[], object], device: torch.device, precision: str) -> Callable[[], object]:
    """The same function, computing in a precision."""

    def inside() -> object:
        with torch.no_grad(), autocast(precision, device):
            return call()

    return inside


def their_step(
    loss: Callable[[Tensor], Tensor],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    device: torch.device,
    precision: str,
    *,
    clip: float | None = None,
    after: Callable[[], object] = lambda: None,
) -> Callable[[], object]:
    """A training step of a peer: the loop that all of them show, in float32 or under autocast."""
    images = some_images(config, device)

    def step() -> object:
        x0 = images[torch.randint(len(images), (config.batch_size,), device=images.images.device)].to(device)
        with autocast(precision, device):
            value = loss(x0)
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()
        return after()

    return step


def diffusers_side(config: TrainConfig, device: torch.device, precision: str) -> Side:
    """As in diffusers' examples/unconditional_image_generation: AdamW, clipping at 1, EMAModel, DDPMScheduler."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    network = diffusers_unet(build_diffusion(config, SHAPE[0]).eps_model).to(device).train()
    scheduler, average = DDPMScheduler(num_train_timesteps=1000), EMAModel(network.parameters(), decay=0.9999)
    average.to(device)

    def loss(x0: Tensor) -> Tensor:
        eps, t = torch.randn_like(x0), torch.randint(1000, (len(x0),), device=device)
        return nn.functional.mse_loss(network(scheduler.add_noise(x0, eps, t), t).sample.float(), eps)

    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)
    step = their_step(
        loss, network, optimizer, config, device, precision, clip=1.0, after=lambda: average.step(network.parameters())
    )
    drawing, xt = copy.deepcopy(network).eval(), noise(config, device)
    draw = in_precision(lambda: scheduler.step(drawing(xt, 500).sample, 500, xt).prev_sample, device, precision)
    return Side(step, draw, network)


def labml_side(config: TrainConfig, device: torch.device, precision: str) -> Side:
    """As in labml_nn's diffusion/ddpm/experiment.py: Adam, no clipping, no average."""
    from labml_nn.diffusion.ddpm import DenoiseDiffusion

    settings = build_diffusion(config, SHAPE[0]).eps_model.settings
    network = labml_unet(UNet(**settings | LABML), normalise=False).to(device).train()
    diffusion = DenoiseDiffusion(eps_model=network, n_steps=1000, device=device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-5)
    step = their_step(diffusion.loss, network, optimizer, config, device, precision)
    xt, t = noise(config, device), torch.full((config.batch_size,), 500, device=device)
    drawing = DenoiseDiffusion(eps_model=copy.deepcopy(network).eval(), n_steps=1000, device=device)
    return Side(step, in_precision(lambda: drawing.p_sample(xt, t), device, precision), network)


def lucidrains_side(config: TrainConfig, device: torch.device, precision: str) -> Side:
    """As in denoising-diffusion-pytorch's Trainer: Adam, clipping at 1, its EMA every ten steps, v as the target."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    network = Unet(dim=config.n_channels, dim_mults=config.ch_mults, channels=SHAPE[0], dropout=config.dropout)
    diffusion = GaussianDiffusion(network, image_size=SHAPE[-1], timesteps=1000).to(device)
    average = EMA(diffusion, beta=0.995, update_every=10)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
    step = their_step(
        lambda x0: diffusion((x0 + 1) / 2), diffusion, optimizer, config, device, precision, clip=1.0,
        after=average.update,
    )  # fmt: skip
    xt = noise(config, device)
    return Side(step, in_precision(lambda: average.ema_model.p_sample(xt, 500)[0], device, precision), network)


def noise(config: TrainConfig, device: torch.device) -> Tensor:
    """A batch of x_t."""
    return torch.randn(config.batch_size, *SHAPE, device=device)


CONTESTS = {
    "diffusers": Contest(("diffusers", "diffusers"), "the paper's network, the same in both", PAPER, diffusers_side),
    "labml": Contest(
        ("labml_nn", "labml-nn"),
        "labml's, the same in both",
        replace(PAPER, ch_mults=(1, 2, 4, 16), is_attn=(False, False, True, True), batch_size=16),
        labml_side,
        LABML,
    ),
    "lucidrains": Contest(
        ("denoising_diffusion_pytorch", "denoising-diffusion-pytorch"),
        "its own network of the same widths beside the paper's",
        PAPER,
        lucidrains_side,
    ),
}


def sides_of(contest: Contest, device: torch.device) -> list[tuple[str, str]]:
    """Who takes part, and in which precision: both as they come, and each in the other's precision."""
    default = settle_precision("auto", device)
    return [(who, precision) for precision in dict.fromkeys(("no", default)) for who in ("theirs", "ours")]


def make_side(contest: Contest, who: str, precision: str, device: torch.device) -> Side:
    """One side, ready to go."""
    if who == "ours":
        return ours(contest.config, device, precision, contest.choices)
    return contest.theirs(contest.config, device, precision)


# Time


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """How long a call takes, until the device is done with it."""
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


Times = dict[tuple[str, str], list[float]]  # (who, precision): seconds of a step, one a round


def in_turns(calls: dict, device: torch.device, rounds: int) -> Times:
    """Seconds of every call in every round, after one that warms up; the order turns around from round to round."""
    taken: Times = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name in sorted(calls, reverse=i % 2 == 1):
            spent = seconds(calls[name], device)
            if i > 0:
                taken[name].append(spent)
    return taken


def speedup(times: Times, one: tuple[str, str], other: tuple[str, str]) -> float:
    """How many times as fast one is as another, the median over rounds."""
    return median(theirs / mine for mine, theirs in zip(times[one], times[other], strict=True))


# Memory


def peak_memory(name: str, who: str, precision: str, device: torch.device) -> float:
    """Bytes that two training steps add to the libraries, at most; in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.bench", "--device", str(device)]
    command += ["--memory", f"{name}:{who}:{precision}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(shown.stdout) if shown.returncode == 0 else float("nan")


def resident(field: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process in bytes, as Linux tells; 0 elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def measure_memory(contest: Contest, who: str, precision: str, device: torch.device) -> int:
    """Bytes at the peak of two training steps, beyond what the imports and one tiny step take."""
    tiny = replace(contest.config, n_channels=32, ch_mults=(1,), is_attn=(False,), n_blocks=1, batch_size=1)
    make_side(replace(contest, config=tiny), who, precision, device).train()
    before = resident("VmRSS")
    side = make_side(contest, who, precision, device)
    for _ in range(2):
        side.train()
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident("VmHWM") - before


# Report


def machine() -> list[str]:
    """What was measured on, and with which versions."""
    facts = describe_machine() | {"Processor": processor()}
    packages = ("torch", "accelerate", *(contest.package[1] for contest in CONTESTS.values()))
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = f", load {os.getloadavg()[0]:.1f} when it began" if hasattr(os, "getloadavg") else ""
    return [", ".join(f"{name} {value}" for name, value in facts.items()) + load, versions]


def processor() -> str:
    """The model of the processor and what it has for bf16, as Linux tells."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in lines.items()}
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in fields.get("flags", "").split()]
    return " ".join([fields.get("model name", platform.processor()), *units])


def version(package: str) -> str:
    """Of an installed package; ``"none"`` if it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def hold(name: str, contest: Contest, device: torch.device, rounds: int) -> dict:
    """Measure one contest."""
    sides = {who: make_side(contest, *who, device) for who in sides_of(contest, device)}
    result = {"name": name, "contest": contest, "sides": list(sides)}
    result["parameters"] = {who: sum(p.numel() for p in side.network.parameters()) for who, side in sides.items()}
    for part in ("train", "sample"):
        result[part] = in_turns({who: getattr(side, part) for who, side in sides.items()}, device, rounds)
    result["memory"] = {who: peak_memory(name, *who, device) for who in sides}
    return result


def rows_of(result: dict) -> Iterator[list[str]]:
    """A contest as rows of the table: training and sampling side by side, then memory."""
    contest, default = result["contest"], result["sides"][-1][1]
    pairs = {"as they come": (("ours", default), ("theirs", "no"))}
    for precision in dict.fromkeys(("no", default)) if default != "no" else ():
        pairs[NAMES[precision]] = (("ours", precision), ("theirs", precision))
    for what, (mine, theirs) in pairs.items():
        cells = []
        for part in ("train", "sample"):
            rate = contest.config.batch_size / median(result[part][theirs])
            cells += [f"{rate:.3g}", f"{speedup(result[part], mine, theirs):.2f} x"]
        memory = f"{result['memory'][mine] / result['memory'][theirs]:.2f} x"
        sizes = " / ".join(f"{result['parameters'][who] / 1e6:.2f}" for who in (mine, theirs))
        yield [
            contest.package[1],
            contest.about,
            sizes,
            str(contest.config.batch_size),
            what,
            *cells,
            memory,
        ]


NAMES = {"no": "float32", "bf16": "bf16"}
HEADER = (
    *("beside", "network", "million parameters, ours / theirs", "batch", "precision"),
    *("training: theirs, images/s", "ours", "sampling: theirs, images/s a step", "ours", "peak memory, ours"),
)


def draw(rows: list[list[str]], out: Path, title: str) -> None:
    """The ratios as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for offset, column, colour, label in ((-0.2, 6, "#0072B2", "training"), (0.2, 8, "#D55E00", "sampling")):
        values = [float(row[column].split()[0]) for row in rows]
        bars = axes.barh([i + offset for i in range(len(rows))], values, 0.38, color=colour, label=label)
        for bar, value in zip(bars, values, strict=True):  # at its foot, out of the way of the line at 1
            axes.text(0.03, bar.get_y() + 0.19, f"{value:.2f} x", color="white", va="center", fontweight="bold")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{row[0]}, {row[4]}" for row in rows])
    axes.set(xlabel="images a second, ours as a multiple of theirs")
    axes.set_xmargin(0.1)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", frameon=False, ncols=2)
    figure.savefig(out, dpi=130)


def missing(contest: Contest) -> str | None:
    """One sentence if the peer is not installed."""
    module, package = contest.package
    if importlib.util.find_spec(module) is None:
        return f"{package} is not installed and was left out: pip install {package}"
    return None


# Our step in several ways

WAYS = {
    "float32": {},
    "float32, channels last": {"channels_last": True},
    "bf16": {"bf16": True},
    "bf16, channels last": {"bf16": True, "channels_last": True},
    "float32, channels last, compiled": {"channels_last": True, "compiled": True},
    "bf16, channels last, compiled": {"bf16": True, "channels_last": True, "compiled": True},
}


def make_way(
    config: TrainConfig,
    device: torch.device,
    *,
    bf16: bool = False,
    channels_last: bool = False,
    compiled: bool = False,
) -> Callable[[], object]:
    """A function that does one forward and backward pass."""
    shape = DATASETS[config.data]
    order = torch.channels_last if channels_last else torch.contiguous_format
    diffusion = build_diffusion(config, shape[0]).to(device).trusting()
    diffusion.eps_model.to(memory_format=order)
    x0 = torch.rand(config.batch_size, *shape, device=device).mul(2).sub(1).to(memory_format=order)
    if compiled:
        diffusion.eps_model.compile()

    def step() -> None:
        diffusion.zero_grad()
        with autocast("bf16" if bf16 else "no", device):
            loss = diffusion.loss(x0)
        loss.backward()

    return step


def ways_table(preset: str, device: torch.device, rounds: int, compiled: bool) -> str:
    """Seconds a step, and speed beside plain float32."""
    calls = {way: make_way(get_preset(preset), device, **how) for way, how in WAYS.items() if compiled or len(how) < 3}
    calls = {way: call for way, call in calls.items() if compiled or "compiled" not in way}
    times = in_turns(calls, device, rounds)
    rows = [(way, f"{median(times[way]):.3g}", f"{speedup(times, way, 'float32'):.2f} x") for way in calls]
    return markdown_table((f"{preset}, {device}", "seconds a step", "speed"), rows)


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(CONTESTS)), help="Peers.  [default: all]")
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True, help="Of which the median counts.")
@click.option("--device", default="auto", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=assets_folder(), help="Folder of speed.md, speed.png.")
@click.option("--ways", help="Instead, our own step of this preset in several ways.")
@click.option("--compile/--no-compile", "compiled", default=False, help="Ways with torch.compile too; minutes.")
@click.option("--memory", hidden=True, help="peer:side:precision: print its peak memory and stop.")
def main(
    only: tuple[str, ...], rounds: int, device: str, out: Path, ways: str | None, compiled: bool, memory: str | None
) -> None:
    """Measure ours beside its peers; write a table and a picture."""
    device = get_device(device)
    if memory:
        name, who, precision = memory.split(":")
        click.echo(measure_memory(CONTESTS[name], who, precision, device))
        return
    if ways:
        click.echo(ways_table(ways, device, rounds, compiled))
        return
    facts, rows = machine(), []
    for name in only or CONTESTS:
        if sentence := missing(CONTESTS[name]):
            facts.append(sentence)
            continue
        rows += rows_of(hold(name, CONTESTS[name], device, rounds))
    text = "\n\n".join([*facts, markdown_table(HEADER, rows)])
    click.echo(text)
    if rows:
        out.mkdir(parents=True, exist_ok=True)
        (out / "speed.md").write_text(f"# Ours beside its peers\n\nMade by `make bench`.\n\n{text}\n", encoding="utf-8")
        draw(rows, out / "speed.png", f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()

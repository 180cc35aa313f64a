"""All that this project wants of a quarter of an hour of a GPU, in one command that may be stopped at any second.

    python -m tests.benchmarks.gpu --pack DATA  # here, once: 28 MB into data/gpu, which git ignores
    python3 -m tests.benchmarks.gpu --minutes 11 --out "$OUT"      # there, with the folder data/gpu carried along

It checks, in this order, what only a GPU can show, measures throughput beside diffusers (if that is installed), trains
MNIST and then CIFAR-10 for as long as there is time, draws and measures samples, and writes into DIR, again and again:
``results.json``, ``samples-*.png`` and weights in bf16 in pieces below 16 MiB. What it has done lies in ``--work``, and
the same command goes on from there: where a call may last ten minutes only, give it twice, with all minutes each time.

    python -m tests.benchmarks.gpu --join DIR mnist runs/mnist-gpu  # here again: pieces to a checkpoint

Needs torch, torchvision, accelerate, safetensors, torchmetrics, scikit-learn, click, and no network.
"""

import io
import json
import lzma
import math
import tarfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ddpm_lesson import checkpoint, get_device
from ddpm_lesson.data import ImageDataset, load_images
from ddpm_lesson.diffusion import noise_like
from ddpm_lesson.evaluate import frechet_distance, judge, load_classifier
from ddpm_lesson.pictures import grid_image
from ddpm_lesson.runtime import autocast, describe_machine, settle_precision
from ddpm_lesson.sample import ddim_steps, final_samples
from ddpm_lesson.train import PRESETS, TrainConfig, TrainState, build_diffusion, train
from tests import parity
from tests.benchmarks import bench
from tests.states import everything
from tests.tiny import TINY

WAY = "way: "  # begins what was measured of a way to take a step
PIECE = 15 * 2**20  # bytes of weights in one file
MNIST = replace(
    PRESETS["mnist"],
    **{"n_channels": 64, "ch_mults": (1, 2, 2), "is_attn": (False, True, False), "n_blocks": 2, "n_groups": 32},
    **{"dropout": 0.1, "batch_size": 256, "lr": 6e-4, "ema_decay": 0.999, "warmup_steps": 200},
)
CIFAR = replace(
    PRESETS["cifar10"],
    **{"n_channels": 96, "lr": 4e-4, "batch_size": 256, "ema_decay": 0.9995, "warmup_steps": 300},
)  # 20 million weights: 40 MB in bf16


@dataclass(frozen=True)
class Plan:
    """How much of everything; ``SMALL`` is the same in miniature, for a CPU and a rehearsal."""

    mnist: TrainConfig = MNIST
    cifar: TrainConfig = CIFAR
    speed: TrainConfig = PRESETS["cifar10"]
    batches: tuple[int, ...] = (128, 512)
    n_samples: int = 10_000
    sample_batch: int = 1_000
    sample_steps: int = 50
    matrix: int = 8192
    compiles: bool = True


TOY = {"n_channels": 16, "ch_mults": (1, 2), "is_attn": (False, True), "n_blocks": 1, "n_groups": 8, "batch_size": 8}
SMALL = Plan(
    **{name: replace(config, **TOY) for name, config in (("mnist", MNIST), ("cifar", CIFAR), ("speed", CIFAR))},
    **{"batches": (4, 8), "n_samples": 160, "sample_batch": 160, "sample_steps": 2, "matrix": 256, "compiles": False},
)
SHARES = {"checks": 0.12, "speed": 0.14, "mnist": 0.2, "cifar": 0.54}  # of all minutes, at most


class Session:
    """What is known so far, where it is kept, and how much time is left.

    Args:
        plan: how much of everything.
        minutes: in all, over all calls.
        device: where to work.
        data: folder that ``pack`` wrote.
        work: folder of what is done; a session that is there goes on.
        out: folder of the results.
    """

    def __init__(self, plan: Plan, minutes: float, device: torch.device, data: Path, work: Path, out: Path):
        self.plan, self.minutes, self.device, self.data, self.work, self.out = plan, minutes, device, data, work, out
        for folder in (work, out):
            folder.mkdir(parents=True, exist_ok=True)
        self.file = work / "results.json"
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else '{"spent": 0.0}'
        self.results: dict[str, Any] = json.loads(text)
        self.began = time.monotonic() - self.results["spent"]

    def left(self) -> float:
        """Seconds until all minutes are over."""
        return 60 * self.minutes - (time.monotonic() - self.began)

    def note(self, name: str, **found: Any) -> None:
        """Keep what was found, at once, in both folders."""
        self.results.setdefault(name, {}).update(found)
        self.results["spent"] = round(time.monotonic() - self.began, 1)
        text = json.dumps(self.results, indent=1, default=str)
        for file in (self.file, self.out / "results.json"):
            unfinished = file.with_suffix(".unfinished")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(file)
        click.echo(f"{self.results['spent']:6.1f} s  {name}: {json.dumps(found, default=str)[:300]}")

    def stage(self, name: str, work: "Callable[[Session, float], None]") -> None:
        """Do a stage unless it is done; what goes wrong is noted and the next one begins."""
        if self.results.get(name, {}).get("done") or self.left() < 0:
            return
        start = self.left()
        try:
            work(self, min(60 * self.minutes * SHARES[name], start))
            self.note(name, done=True, seconds=round(start - self.left(), 1))
        except Exception as error:  # whatever a device that nobody has seen may say
            lines = traceback.format_exc().strip().splitlines()
            self.note(name, error=f"{type(error).__name__}: {error}"[:500], where=lines[-8:])

    def images(self, name: str, split: str) -> ImageDataset:
        """The images of ``mnist`` or ``cifar10``, decoded once."""
        cache = self.work / f"{name}-{split}.npy"
        if not cache.exists():
            np.save(cache, read_mnist(self.data, split) if name == "mnist" else read_cifar(self.data, split))
        return ImageDataset(torch.from_numpy(np.load(cache)))


# Data, packed small


def pack(source: Path, data: Path) -> None:
    """Compress the images of MNIST, and copy the archive of CIFAR-10 (JPEG copy)."""
    data.mkdir(parents=True, exist_ok=True)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        raw = (source / "MNIST" / "raw" / f"{prefix}-images-idx3-ubyte").read_bytes()
        (data / f"mnist-{split}.xz").write_bytes(lzma.compress(raw))
    (data / "cifar10-jpeg.tar.xz").write_bytes((source / "cifar10-jpeg.tar.xz").read_bytes())


def read_mnist(data: Path, split: str) -> np.ndarray:
    """(N, 1, 28, 28) bytes, from a file of 16 bytes about it and then the pixels."""
    raw = lzma.decompress((data / f"mnist-{split}.xz").read_bytes())
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)


def read_cifar(data: Path, split: str) -> np.ndarray:
    """(N, 3, 32, 32) bytes, from an archive of JPEG files ``split/class/number.jpg``."""
    images = []
    with tarfile.open(data / "cifar10-jpeg.tar.xz") as archive:
        for entry in archive:
            if entry.isfile() and entry.name.startswith(f"{split}/"):
                images.append(np.asarray(Image.open(io.BytesIO(archive.extractfile(entry).read())).convert("RGB")))
    return np.stack(images).transpose(0, 3, 1, 2).copy()


# (a) What only a GPU can show


def run_checks(session: Session, seconds: float) -> None:
    """Every check on its own: one that fails says how, and the others go on."""
    end = session.left() - seconds
    for name, check in CHECKS.items():
        if session.left() < end:
            session.note("checks", **{name: "no time"})
            continue
        try:
            session.note("checks", **{name: check(session.device)})
        except Exception as error:
            session.note("checks", **{name: f"FAILED {type(error).__name__}: {error}"[:300]})


def check_parity(path: str) -> Callable[[torch.device], dict]:
    """A check that the gradients of a fast path are those of float64 on the CPU, up to rounding."""

    def check(device: torch.device) -> dict:
        exact = parity.gradients(parity.network().double(), torch.device("cpu"))
        errors = parity.relative_errors(parity.path_gradients(path, device), exact)
        precision = parity.PATHS[path][0]
        limit = parity.allowed("tf32" if precision == "no" and device.type == "cuda" else precision)
        worst = max(errors, key=lambda name: errors[name])
        return {"passed": errors[worst] < limit, "error": errors[worst], "allowed": limit, "where": worst}

    return check


def check_generators(device: torch.device) -> bool:
    """A generator on the CPU gives the same noise on every device."""
    draws = [noise_like(torch.zeros(3, 4, device=d), torch.Generator().manual_seed(5)).cpu() for d in ("cpu", device)]
    return torch.equal(*draws)


def check_resume(device: torch.device, precision: str = "no") -> dict:
    """A run that was saved and restored goes on as one in one go; on a GPU sums may come in another order."""
    config, dataset = replace(TINY, mixed_precision=precision, dropout=0.0), load_images("digits")
    once, twice = (TrainState(config, dataset.shape, device) for _ in range(2))
    list(train(once, dataset))
    list(islice(train(twice, dataset), 5))
    scale = twice.scaler.get("scale")
    list(train(twice, dataset))
    left, right = everything(once), everything(twice)
    far = max(float((left[name].double() - right[name].double()).abs().max()) for name in left)
    return {"passed": far < 1e-3 and once.scaler == twice.scaler, "largest difference": far, "scale": scale}


def check_fp16(device: torch.device) -> dict | str:
    """The same with a gradient scaler, which goes on too."""
    return check_resume(device, "fp16") if device.type == "cuda" else "needs CUDA"


def check_samples(device: torch.device) -> dict:
    """Samples of the shipped digits are those of the CPU, up to the rounding of ten network evaluations."""
    found = []
    for place in ("cpu", device):
        diffusion = checkpoint.load("digits", place)
        steps = ddim_steps(diffusion, (4, 1, 8, 8), 10, generator=torch.Generator().manual_seed(0))
        found.append(final_samples(steps).cpu())
    far = float((found[0] - found[1]).abs().max())
    return {"passed": far < (0.05 if device.type == "cuda" else 1e-6), "largest difference": far}  # TF32: 3 digits


def check_no_waiting(device: torch.device) -> bool | str:
    """No step of training reads a value from the GPU."""
    if device.type != "cuda":
        return "needs CUDA"
    steps = train(TrainState(replace(TINY, train_steps=20), (1, 8, 8), device), load_images("digits"))
    next(steps)
    torch.cuda.set_sync_debug_mode("error")
    try:
        return len(list(islice(steps, 5))) == 5
    finally:
        torch.cuda.set_sync_debug_mode("default")


CHECKS: dict[str, Callable[[torch.device], Any]] = {
    "generators": check_generators,
    "resume": check_resume,
    "fp16 scaler": check_fp16,
    "samples as on the CPU": check_samples,
    "no waiting": check_no_waiting,
    "auto precision": lambda device: settle_precision("auto", device),
    **{f"gradients, {path}": check_parity(path) for path in parity.PATHS if "compiled" not in path},
    "gradients, bf16, channels last, compiled": check_parity("bf16, channels last, compiled"),
}


# (b) Throughput


def measure_speed(session: Session, seconds: float) -> None:
    """Images a second at the paper's network, the share of the chip's peak, and diffusers beside."""
    end, device, plan = session.left() - seconds, session.device, session.plan
    session.note(
        "speed", peak_flops=matrix_flops(device, plan.matrix), peak_is="a product of matrices in bf16, measured"
    )
    flops = flops_of_image(plan.speed, device)
    session.note("speed", flops_of_image=flops, counted="FlopCounterMode, forward and backward, a multiply-add as two")
    for batch in plan.batches:
        config = replace(plan.speed, batch_size=batch, train_steps=bench.ENDLESS)
        for name, make in SIDES.items():
            if session.left() > end:
                session.note("speed", **{f"{name}, batch {batch}": speed_of(make, config, device, flops, session)})
    for way, how in bench.WAYS.items():
        if session.left() > end and how.get("bf16") and (plan.compiles or not how.get("compiled")):
            step = bench.make_way(plan.cifar, device, **how)
            session.note("speed", **{WAY + way: plan.cifar.batch_size / seconds_a_step(step, device)})


def fastest_way(session: Session) -> dict[str, bool]:
    """How CIFAR-10 trains fastest, as measured; compiling must win enough to make up for its minute."""
    rates = {name.removeprefix(WAY): rate for name, rate in session.results.get("speed", {}).items() if WAY in name}
    worth = {name: rate * (0.8 if "compiled" in name else 1.0) for name, rate in rates.items()}
    return bench.WAYS[max(worth, key=lambda name: worth[name])] if worth else {}


def ours(config: TrainConfig, device: torch.device) -> Callable[[], object]:
    """Our training step in bf16."""
    return bench.ours(config, device, "bf16", {}).train


def theirs(config: TrainConfig, device: torch.device) -> Callable[[], object]:
    """The step of diffusers in bf16."""
    return bench.diffusers_side(config, device, "bf16").train


SIDES = {"ours, bf16": ours, "diffusers, bf16": theirs}


def speed_of(make: Callable, config: TrainConfig, device: torch.device, flops: float, session: Session) -> Any:
    """Images a second, share of the peak and memory of one side; a sentence if it cannot be measured."""
    try:
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        rate = config.batch_size / seconds_a_step(make(config, device), device)
    except (ImportError, RuntimeError, ValueError) as error:
        return f"not measured: {error}"[:200]
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {"images/s": rate, "share of peak": rate * flops / session.results["speed"]["peak_flops"], "bytes": memory}


def seconds_a_step(step: Callable[[], object], device: torch.device, at_least: float = 1.0) -> float:
    """Mean seconds of a step, after three that warm up."""
    for _ in range(3):
        bench.seconds(step, device)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < at_least or count < 2:
        step()
        count += 1
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / count


def matrix_flops(device: torch.device, side: int) -> float:
    """Operations a second in a product of two square matrices in bf16."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / seconds_a_step(lambda: a @ a, device, 0.3)


def flops_of_image(config: TrainConfig, device: torch.device) -> float:
    """Operations of a forward and backward pass for one image."""
    diffusion = build_diffusion(config, 3).to(device)
    with FlopCounterMode(display=False) as counter:
        diffusion.loss(torch.zeros(2, 3, 32, 32, device=device)).backward()
    return counter.get_total_flops() / 2


# (c), (d) Training by the clock


def train_mnist(session: Session, seconds: float) -> None:
    """MNIST for its share of the time, then its samples."""
    train_and_measure(session, "mnist", session.plan.mnist, seconds)


def train_cifar(session: Session, seconds: float) -> None:
    """CIFAR-10 with all the time that is left, but what its samples will take."""
    train_and_measure(session, "cifar", session.plan.cifar, session.left())


def train_and_measure(session: Session, name: str, config: TrainConfig, seconds: float) -> None:
    """Train for about two thirds of some seconds or more, by the clock, then draw, measure and write."""
    end = session.left() - seconds
    data = config.data
    dataset = session.images(data, "train")
    compiled = name == "cifar" and bool(fastest_way(session).get("compiled"))
    config = replace(config, mixed_precision=settle_precision("auto", session.device), compiled=compiled)
    state = fitted(session, name, config, dataset, 0.75 * seconds)
    session.note(name, of=state.config.train_steps)
    last = time.monotonic()
    for step in train(state, dataset):
        if time.monotonic() - last > 30 or step.step == state.config.train_steps:
            session.note(name, loss=float(step.loss))
            keep(session, name, state)
            last = time.monotonic()
        if session.left() < end + min(30, 3 * session.minutes):  # slower than it seemed, and samples take time
            break
    keep(session, name, state)
    measure(session, name, state, dataset)


def fitted(session: Session, name: str, config: TrainConfig, dataset: ImageDataset, seconds: float) -> TrainState:
    """A run that ends in about so many seconds: its speed is measured first, and a fifth of it cools down.

    One that is in the working folder goes on instead.
    """
    folder = session.work / name
    if checkpoint.holds_run(folder):
        state = fresh(session, checkpoint.load_config(folder), dataset)
        checkpoint.load_training(state, folder)
        return state
    before = session.left()
    trial = train(fresh(session, replace(config, train_steps=bench.ENDLESS), dataset), dataset)
    a_step = seconds_a_step(lambda: next(trial), session.device)
    steps = max(10, int((seconds - before + session.left()) / a_step))
    session.note(name, seconds_a_step=a_step, images_a_second=config.batch_size / a_step)
    share = {"warmup_steps": min(config.warmup_steps, steps // 10), "cooldown_steps": steps // 5}
    return fresh(session, replace(config, train_steps=steps, **share), dataset)


def fresh(session: Session, config: TrainConfig, dataset: ImageDataset) -> TrainState:
    """A run before its first step, its weights laid out as is fastest."""
    state = TrainState(config, dataset.shape, session.device)
    if fastest_way(session).get("channels_last"):
        for model in (state.diffusion.eps_model, state.ema.module):
            model.to(memory_format=torch.channels_last)
    return state


def keep(session: Session, name: str, state: TrainState) -> None:
    """The run into the working folder, and its averaged weights into the results."""
    checkpoint.save_training(state, session.work / name)
    weights = {key: value.cpu().bfloat16().contiguous() for key, value in state.ema.module.state_dict().items()}
    new = list(enumerate(pieces(to_safetensors(weights))))
    for i, piece in new:
        (session.out / f"{name}.new.{i}").write_bytes(piece)
    for i, _ in new:  # all at once, so that pieces of two steps do not meet
        (session.out / f"{name}.new.{i}").replace(session.out / f"{name}.weights.{i}")
    session.note(name, step=state.step, settings=asdict(state.config), network=state.ema.module.settings)


def pieces(contents: bytes) -> Iterator[bytes]:
    """The same bytes in files that are small enough to travel."""
    for start in range(0, len(contents), PIECE):
        yield contents[start : start + PIECE]


def join(folder: Path, name: str, target: Path) -> None:
    """Make a checkpoint of the pieces that came back."""
    files = sorted(folder.glob(f"{name}.weights.*"), key=lambda file: int(file.suffix[1:]))
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))[name]
    known = {field: value for field, value in found["settings"].items() if field in TrainConfig.__dataclass_fields__}
    diffusion = build_diffusion(TrainConfig(**known), found["network"]["image_channels"])
    tensors = from_safetensors(b"".join(file.read_bytes() for file in files))
    diffusion.eps_model.load_state_dict({key: value.float() for key, value in tensors.items()})
    shape = [1, 28, 28] if known["data"] == "mnist" else [3, 32, 32]
    checkpoint.save(diffusion, target, image_shape=shape, step=found["step"], training=known)


# (e), (f) Samples and what they are worth


def measure(session: Session, name: str, state: TrainState, dataset: ImageDataset) -> None:
    """Draw samples of the averaged model, as many as there is time for, and say how far they are from the data."""
    plan, device, batches, start = session.plan, session.device, [], session.left()
    diffusion, generator = state.averaged(), torch.Generator().manual_seed(0)
    while sum(map(len, batches)) < plan.n_samples:
        spent = start - session.left()
        if batches and session.left() < 20 + spent / len(batches):
            break
        with torch.no_grad(), autocast(state.config.mixed_precision, device):
            steps = ddim_steps(diffusion, (plan.sample_batch, *dataset.shape), plan.sample_steps, 1.0, generator)
            batches.append(final_samples(steps).float().clamp(-1, 1).cpu())
        if len(batches) == 1:
            grid_image(batches[0][:64]).save(session.out / f"samples-{name}.png")
    samples = torch.cat(batches)[: plan.n_samples]
    session.note(name, samples=len(samples), sampler=f"DDIM, {plan.sample_steps} steps, eta 1")
    session.note(name, **worth(samples, dataset, session, state.config.data))


def worth(samples: Tensor, dataset: ImageDataset, session: Session, data: str) -> dict[str, Any]:
    """Frechet distance with its floor, and what the classifier says of the samples and of real test images."""
    test, classifier = session.images(data, "test")[:], load_classifier(data, session.device)
    judged = {label: judge(classifier, images)._asdict() for label, images in (("samples", samples), ("test", test))}
    found = frechet_distance("classifier", dataset[:], samples, test, device=session.device)
    ratio = found.value / found.floor if found.floor else math.nan
    return {"frechet": found._asdict(), "times the floor": ratio, "judged": judged}


STAGES = {"checks": run_checks, "speed": measure_speed, "mnist": train_mnist, "cifar": train_cifar}


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=11.0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/gpu-out"), show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/gpu"), show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=Path("data/gpu"), show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--small", is_flag=True, help="In miniature: a rehearsal on a CPU.")
@click.option("--pack", "source", type=click.Path(path_type=Path), help="Only make --data, from this folder.")
@click.option("--join", "joined", type=(click.Path(path_type=Path), str, click.Path(path_type=Path)), help="See above.")
def main(
    minutes: float,
    out: Path,
    work: Path,
    data: Path,
    device: str,
    small: bool,
    source: Path | None,
    joined: tuple[Path, str, Path] | None,
) -> None:
    """Check, measure, train, draw: all that a GPU is wanted for."""
    if source:
        pack(source, data)
        size = sum(file.stat().st_size for file in data.iterdir())
        click.echo(f"{data}: {size / 2**20:.1f} MiB")
        return
    if joined:
        join(*joined)
        return
    session = Session(SMALL if small else Plan(), minutes, get_device(device), data, work, out)
    session.note("machine", **describe_machine())
    for name, work_of_stage in STAGES.items():
        session.stage(name, work_of_stage)


if __name__ == "__main__":
    main()

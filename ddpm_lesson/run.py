"""A whole training run on disk: progress bar, checkpoints, pictures, stop and resume."""

import contextlib
import hashlib
import io
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ddpm_lesson import checkpoint
from ddpm_lesson.checkpoint import CheckpointError, SavedRun
from ddpm_lesson.data import DATASETS, DataError, ImageDataset, load_images
from ddpm_lesson.flow import FlowMatching, FlowStep, flow_steps
from ddpm_lesson.pictures import grid_image, loss_curve
from ddpm_lesson.runtime import get_device, n_processes, rank
from ddpm_lesson.sample import ReverseStep, guided, reverse_steps
from ddpm_lesson.train import (
    TrainConfig,
    TrainState,
    TrainStep,
    any_process,
    check_labels,
    first_process_first,
    parts_of_batch,
    together,
    train,
)

LOG_EVERY = 10  # optimiser steps between two points of the loss curve
GRID_SCALE = 2.0  # guidance of the samples that a run draws, if its model takes labels
FLOW_STEPS = 50  # of a flow, which has no T, unless given


class Stop(threading.Event):
    """Set when a run is to stop; ``number`` is the signal that asked for it, 0 if none did."""

    number = 0


def run(
    config: TrainConfig,
    folder: str | Path,
    device: str | torch.device = "auto",
    *,
    resume: bool = False,
    stop: Stop | None = None,
) -> TrainState:
    """Train, save, draw. Ctrl-C finishes the step, saves everything and returns.

    Writes into ``folder``: the checkpoint (see ``checkpoint``), ``loss.csv``, ``loss.png`` and, every
    ``sample_every`` steps and at the end, ``samples/step_<n>.png``. Training goes on if a picture cannot be drawn.

    Args:
        config: what to train on what, see ``PRESETS``.
        folder: created if need be; locked against other runs.
        device: see ``get_device``.
        resume: go on from the run in ``folder``, if there is one.
        stop: set from outside, or by Ctrl-C and the like, ends the run after the present step.

    Returns:
        The state at the end; ``state.averaged()`` is the model to sample from.

    Raises:
        FileExistsError: if ``folder`` holds a run and ``resume`` is False, or a model without its run.
        FloatingPointError: if the loss is no longer a number; the last checkpoint stays.
        DataError, CheckpointError, ValueError: see ``load_images``, ``checkpoint`` and ``get_device``.
    """
    folder, stop = Path(folder), stop or Stop()
    resume = resume and checkpoint.holds_run(folder)
    if not resume:
        checkpoint.check_free(folder)
    with together(get_device(device)), contextlib.ExitStack() as stack:
        if resume:
            lock(folder, stack)
        saved = checkpoint.open_run(folder) if resume else None
        if saved:
            checkpoint.check_same_run(config, saved)
            if config.mixed_precision == "auto":  # a run keeps the arithmetic that it began with
                config = replace(config, mixed_precision=saved.config.mixed_precision)
        with first_process_first():
            dataset = images_of(config, saved)
        check_labels(config, dataset)
        parts_of_batch(config, min(config.batch_size, len(dataset)))  # a batch that cannot be cut is told of now
        state = TrainState(config, dataset.shape, device)
        if not resume:
            lock(folder, stack)
        bar = stack.enter_context(progress_bar(state, saved))
        log = take_up(state, saved, folder, fingerprint(dataset), bar)
        with interruptible(stop):
            if train_and_save(state, dataset, folder, log, stop, bar):
                write_grid(state, folder, stop, bar)
    return state


def lock(folder: Path, stack: contextlib.ExitStack) -> None:
    """Keep the folder to this run until the stack unwinds; one of several processes does so for all."""
    if rank() == 0:
        stack.enter_context(checkpoint.locked(folder))


def images_of(config: TrainConfig, saved: SavedRun | None) -> ImageDataset:
    """The images to train on; DataError or ValueError if they are not there, or not those of the saved run."""
    try:
        dataset = load_images(config.data, image_size=config.image_size)
    except (DataError, ValueError) as error:
        if saved is None or config.data in DATASETS:
            raise
        raise DataError(f"{error}. If the images of this run were moved, let the setting data say where to") from error
    if saved is None:
        return dataset
    known = saved.settings.get("images")
    if known != fingerprint(dataset) and (known is not None or config.data != saved.config.data):
        raise DataError(
            f"the images in {str(config.data)!r} are not those that {saved.file.parent} was trained on, from "
            f"{str(saved.config.data)!r}: a run goes on with the same images only. Choose another folder for a new run"
        )
    return dataset


def fingerprint(dataset: ImageDataset) -> str:
    """What tells the images of a data set from others, wherever they lie."""
    shape = str(tuple(dataset.images.shape)).encode()
    return hashlib.sha256(shape + dataset.images.contiguous().numpy().data).hexdigest()


def take_up(state: TrainState, saved: SavedRun | None, folder: Path, images: str, bar: tqdm) -> "LossLog":
    """Put a fresh state where a run was saved, say what is not as it was, and see that its folder is whole."""
    log = LossLog(images=images)
    if saved:
        for line in changes(state.config, saved):
            say(bar, line)
        checkpoint.restore(state, saved)
        log.read(folder / "loss.csv", saved)
    if rank() > 0:
        return log
    if saved is None:
        checkpoint.check_free(folder)  # nobody else began here meanwhile
        checkpoint.save_training(state, folder, **log.notes())
    elif checkpoint.heal(state, saved, **log.notes()):
        say(bar, f"the files in {folder} were not all whole or of one step; all are of step {saved.step} now")
    return log


def changes(config: TrainConfig, saved: SavedRun) -> Iterator[str]:
    """What to say before a run goes on: where it stands and why there, and which settings change.

    ValueError if it has taken more steps than it is to take.
    """
    if config.train_steps < saved.step:
        raise ValueError(f"train_steps must be at least {saved.step}, where the run stands; got {config.train_steps}")
    if saved.passed_over:
        yield f"going back to step {saved.step}, from {saved.file.name}, because: {saved.passed_over}"
    before = asdict(saved.config)
    for name, value in asdict(config).items():
        if value != before[name]:
            yield f"from step {saved.step} on, {name} is {value!r}; it was {before[name]!r}"


def train_and_save(
    state: TrainState, dataset: ImageDataset, folder: Path, log: "LossLog", stop: Stop, bar: tqdm
) -> bool:
    """Train with checkpoints and pictures on the way; whether all steps were taken before ``stop`` was set."""
    config = state.config
    for step in train(state, dataset):
        log.add(step, bar, images=min(config.batch_size, len(dataset)))
        finished = step.step == config.train_steps
        ask = n_processes() == 1 or step.step % LOG_EVERY == 0  # asking the others takes time
        stopped = ask and any_process(stop.is_set(), state.diffusion.device)
        if stopped or finished or step.step % config.save_every == 0:
            log.check(step, scaled=bool(state.scaler))
            save(state, folder, log, bar, last=stopped or finished)
        if stopped:
            say(bar, f"stopped at step {step.step}; everything is saved in {folder}")
            return False
        if step.step % config.sample_every == 0 and not finished:
            write_grid(state, folder, stop, bar)
    return True


def save(state: TrainState, folder: Path, log: "LossLog", bar: tqdm, *, last: bool) -> None:
    """Write loss curve and checkpoint. Only the last one has to succeed: before, there will be another."""
    if rank() > 0:
        return
    log.write(folder, bar)
    try:
        checkpoint.save_training(state, folder, **log.notes())
    except CheckpointError as error:
        if last:
            raise
        say(bar, f"training goes on, and step {state.step} is not saved: {error}")


def write_grid(state: TrainState, folder: Path, stop: Stop, bar: tqdm) -> None:
    """Write a grid of samples of the averaged model, from the same noise every time; give up if ``stop`` is set."""
    if rank() > 0:
        return
    config = state.config
    with not_needed(bar, f"there is no grid of samples of step {state.step}"):
        generator = torch.Generator().manual_seed(config.seed)
        shape = (config.n_samples, *state.image_shape)
        for step in grid_steps(state, shape, generator):
            if stop.is_set():
                say(bar, f"stopped: the grid of samples of step {state.step} was given up")
                return
            images = step.x0_hat
        png = io.BytesIO()
        grid_image(images).save(png, "png")  # pyrefly: ignore[unbound-name] (there is a step)
        checkpoint.write_whole(folder, {f"samples/step_{state.step:07d}.png": png.getvalue()})


def grid_steps(
    state: TrainState, shape: tuple[int, ...], generator: torch.Generator
) -> Iterator[ReverseStep] | Iterator[FlowStep]:
    """The way to the samples of a grid: one class after the other, if the model takes labels."""
    model, n_steps, n_classes = state.averaged(), state.config.sample_steps, state.config.n_classes
    labels = torch.arange(shape[0], device=model.device) % n_classes if n_classes else None
    if isinstance(model, FlowMatching):
        return flow_steps(model, shape, n_steps or FLOW_STEPS, generator, class_labels=labels)
    return reverse_steps(model if labels is None else guided(model, labels, GRID_SCALE), shape, n_steps, generator)


@contextlib.contextmanager
def not_needed(bar: tqdm, missing: str) -> Iterator[None]:
    """Let training go on, with a line of what is missing and why, whatever goes wrong in the ``with`` block."""
    try:
        yield
    except Exception as error:  # memory, disk, a library that is not there: none is worth a run
        say(bar, f"training goes on, but {missing}: {error}")


def say(bar: tqdm, line: str) -> None:
    """Write a line above the bar, if anybody is still there to read it."""
    if rank() == 0:
        with contextlib.suppress(OSError):
            bar.write(line)


def progress_bar(state: TrainState, saved: SavedRun | None) -> tqdm:
    """A bar over optimiser steps that starts where the run stands."""
    config = state.config
    label = f"train {config.data}"
    return tqdm(
        initial=saved.step if saved else 0, total=config.train_steps, desc=label, unit="step", disable=rank() > 0
    )


@dataclass
class LossLog:
    """The loss curve: one averaged point every ``LOG_EVERY`` steps."""

    images: str  # fingerprint of what is trained on
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    pending: list[Tensor] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)
    drawn: bool = True  # False once matplotlib turned out to be missing

    def add(self, step: TrainStep, bar: tqdm, images: int) -> None:
        """Take in a step of so many images and move the bar; every ``LOG_EVERY`` steps add a point to the curve."""
        self.pending.append(step.loss)
        bar.update()
        if step.step % LOG_EVERY:
            return
        loss = self.mean_loss()
        now = time.perf_counter()
        bar.set_postfix({"loss": f"{loss:.4f}", "images/s": f"{images * len(self.pending) / (now - self.since):.0f}"})
        self.steps.append(step.step)
        self.losses.append(loss)
        self.pending, self.since = [], now

    def mean_loss(self) -> float:
        """The mean loss since the last point of the curve."""
        return torch.stack(self.pending).mean().item() if self.pending else 0.0

    def check(self, step: TrainStep, scaled: bool) -> None:
        """FloatingPointError if the weights are spoilt; a scaled gradient may overflow, its step is then skipped."""
        loss_is_fine = math.isfinite(step.loss) and math.isfinite(self.mean_loss())
        if not (loss_is_fine and (scaled or math.isfinite(step.grad_norm))):
            raise FloatingPointError(
                f"loss {step.loss.item()} and gradient norm {float(step.grad_norm)} at step {step.step}; the last "
                "checkpoint is kept. Resume with a lower lr, or with mixed_precision bf16 or no"
            )

    def notes(self) -> dict[str, Any]:
        """What the checkpoint keeps so that the curve goes on as if nothing had happened."""
        return {"images": self.images, "pending": [float(loss) for loss in self.pending]}

    def write(self, folder: Path, bar: tqdm) -> None:
        """Write ``loss.csv`` and ``loss.png``; if that fails, say so and go on."""
        rows = zip(self.steps, self.losses, strict=True)
        text = "".join(f"{step},{loss}\n" for step, loss in [("step", "loss"), *rows])
        with not_needed(bar, "the loss curve is not up to date"):
            checkpoint.write_whole(folder, {"loss.csv": text.encode()})
            if self.steps and self.drawn:
                self.draw(folder, bar)

    def draw(self, folder: Path, bar: tqdm) -> None:
        """Write ``loss.png``; without matplotlib, say so once and leave it at ``loss.csv``."""
        try:
            checkpoint.write_whole(folder, {"loss.png": loss_curve(self.steps, self.losses)})
        except ImportError as error:
            self.drawn = False
            say(bar, f"the loss curve is in loss.csv and not drawn: {error}")

    def read(self, file: Path, saved: SavedRun) -> None:
        """Take up the curve of an earlier run, up to the step that it resumes from."""
        self.pending = [torch.tensor(float(loss)) for loss in saved.settings.get("pending", [])]
        with contextlib.suppress(OSError):
            for line in file.read_text("utf-8-sig", errors="replace").splitlines():
                with contextlib.suppress(ValueError):  # the heading, or a line that was cut off
                    step, loss = line.split(",")
                    if int(step) <= saved.step:
                        self.losses.append(float(loss))
                        self.steps.append(int(step))


def stop_signals() -> list[int]:
    """Ctrl-C, the polite kill, and a terminal that closes; nohup keeps the last one away."""
    hang_up = getattr(signal, "SIGHUP", None)
    heard = hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([hang_up] if heard else [])]


@contextlib.contextmanager
def interruptible(stop: Stop | None = None) -> Iterator[Stop]:
    """Let the first of ``stop_signals`` set an event that is looked at between steps; the second one interrupts."""
    stop = stop or Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread only
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.number = number
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in stop_signals()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

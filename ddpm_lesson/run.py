"""A whole training run on disk: progress bar, checkpoints, pictures, stop and resume."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm.auto import tqdm

from ddpm_lesson import checkpoint
from ddpm_lesson.data import ImageDataset, load_images
from ddpm_lesson.pictures import grid_image, loss_curve
from ddpm_lesson.runtime import get_device, n_processes, rank
from ddpm_lesson.sample import reverse_steps
from ddpm_lesson.train import TrainConfig, TrainState, TrainStep, any_process, first_process_first, together, train

LOG_EVERY = 10  # optimiser steps between two points of the loss curve


def run(
    config: TrainConfig, folder: str | Path, device: str | torch.device = "auto", *, resume: bool = False
) -> TrainState:
    """Train, save, draw. Ctrl-C finishes the step, saves everything and returns.

    Writes into ``folder``: the checkpoint (see ``checkpoint``), ``loss.csv``, ``loss.png`` and, every
    ``sample_every`` steps and at the end, ``samples/step_<n>.png``.

    Args:
        config: what to train on what, see ``PRESETS``.
        folder: created if need be.
        device: see ``get_device``.
        resume: go on from the run in ``folder``, if there is one.

    Returns:
        The state at the end; ``state.averaged()`` is the model to sample from.

    Raises:
        FileExistsError: if ``folder`` holds a run and ``resume`` is False, or a model without its run.
        FloatingPointError: if the loss is no longer a number; the last checkpoint stays.
        DataError, CheckpointError, ValueError: see ``load_images``, ``checkpoint`` and ``get_device``.
    """
    folder = Path(folder)
    found = (folder / checkpoint.SETTINGS).is_file()
    if found and not resume:
        raise FileExistsError(f"{folder} already holds a run or a model: resume it, or choose another folder")
    if found and not (folder / checkpoint.TRAINING).is_file():
        raise FileExistsError(f"{folder} holds a model without its {checkpoint.TRAINING}: choose another folder")
    with together(get_device(device)):
        with first_process_first():
            dataset = load_images(config.data, image_size=config.image_size)
        state = TrainState(config, dataset.shape, device)
        log = LossLog()
        if found:
            checkpoint.load_training(state, folder)
            log.read(folder / "loss.csv", state.step)
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        with interruptible() as stop, progress_bar(state) as bar:
            if train_and_save(state, dataset, folder, log, stop, bar):
                write_grid(state, folder, stop)
    return state


def train_and_save(
    state: TrainState, dataset: ImageDataset, folder: Path, log: "LossLog", stop: threading.Event, bar: tqdm
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
            if rank() == 0:
                log.write(folder, bar)
                checkpoint.save_training(state, folder)
        if stopped:
            bar.write(f"stopped at step {step.step}; everything is saved in {folder}")
            return False
        if step.step % config.sample_every == 0 and not finished:
            write_grid(state, folder, stop)
    return True


def write_grid(state: TrainState, folder: Path, stop: threading.Event) -> None:
    """Write a grid of samples of the averaged model, from the same noise every time; give up if ``stop`` is set."""
    if rank() > 0:
        return
    config = state.config
    generator = torch.Generator().manual_seed(config.seed)
    shape = (config.n_samples, *state.image_shape)
    for step in reverse_steps(state.averaged(), shape, config.sample_steps, generator):
        if stop.is_set():
            return
        images = step.x0_hat
    grid_image(images).save(folder / "samples" / f"step_{state.step:07d}.png")


def progress_bar(state: TrainState) -> tqdm:
    """A bar over optimiser steps that starts where the run stands."""
    config = state.config
    label = f"train {config.data}"
    return tqdm(initial=state.step, total=config.train_steps, desc=label, unit="step", disable=rank() > 0)


@dataclass
class LossLog:
    """The loss curve: one averaged point every ``LOG_EVERY`` steps."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    pending: list[torch.Tensor] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)

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

    def write(self, folder: Path, bar: tqdm) -> None:
        """Write ``loss.csv`` and ``loss.png``; if that fails, say so and go on."""
        rows = zip(self.steps, self.losses, strict=True)
        files = {"loss.csv": "".join(f"{step},{loss}\n" for step, loss in [("step", "loss"), *rows]).encode()}
        if self.steps:
            files["loss.png"] = loss_curve(self.steps, self.losses)
        try:
            checkpoint.write_whole(folder, files)
        except checkpoint.CheckpointError as error:
            bar.write(f"training goes on, but the loss curve is not up to date: {error}")

    def read(self, file: Path, last_step: int) -> None:
        """Take up the curve of an earlier run, up to the step that it resumes from."""
        if not file.is_file():
            return
        for line in file.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the heading, or a line that was cut off
                step, loss = line.split(",")
                if int(step) <= last_step:
                    self.losses.append(float(loss))
                    self.steps.append(int(step))


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or SIGTERM) into an event to be looked at between steps; the second one interrupts."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread only
        return

    def on_signal(number, frame):
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

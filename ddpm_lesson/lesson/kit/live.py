"""A training run to watch: it tells how far it is every now and then, keeps itself on disk, and goes on from there."""

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson import checkpoint
from ddpm_lesson.data import DATASETS, ImageDataset, load_images
from ddpm_lesson.lesson.kit.probe import make_probe
from ddpm_lesson.run import fingerprint, images_of
from ddpm_lesson.sample import ddim_steps, final_samples
from ddpm_lesson.train import PRESETS, TrainConfig, TrainState, TrainStep, seconds_per_image, train

BUDGETS = {"quick": 10.0, "coffee": 300.0, "full": None}  # seconds of training; None for all steps of the preset
LEAST_STEPS = 40
TIMED = 0.1  # seconds that a timed pass should last at least
SHORT_STEP = 5.0  # seconds; shorter steps are taken, longer ones reckoned from a pass over a few images
PATIENCE = 3.0  # seconds of taking steps, after which two must do
PROBE_IMAGES = 64
SAMPLE_STEPS = 20
N_SAMPLES = 16
HISTORY = "history.safetensors"


def within_budget(config: TrainConfig, budget: str, seconds_per_step: float) -> TrainConfig:
    """The run shortened to what a budget allows, at least ``LEAST_STEPS``; its warm-up and cool-down shrink with it.

    Args:
        config: the whole run.
        budget: ``"quick"`` (seconds), ``"coffee"`` (minutes) or ``"full"`` (the whole run).
        seconds_per_step: measured on the machine that will train.

    Raises:
        ValueError: if the budget is not one of these.
    """
    if budget not in BUDGETS:
        raise ValueError(f"budget must be one of {', '.join(BUDGETS)}; got {budget!r}")
    seconds = BUDGETS[budget]
    if seconds is None:
        return config
    n_steps = min(config.train_steps, max(LEAST_STEPS, round(seconds / seconds_per_step)))
    share = n_steps / config.train_steps
    scaled = {name: round(share * getattr(config, name)) for name in ("warmup_steps", "cooldown_steps")}
    return replace(config, train_steps=n_steps, **scaled)


@lru_cache
def step_seconds(preset: str, device: str) -> float:
    """What an optimiser step of a preset takes here, measured once: the fastest of a few on blank images.

    A step of more than ``SHORT_STEP`` is reckoned from forward and backward pass alone.
    """
    config = PRESETS[preset]
    reckoned = config.batch_size * min(seconds_per_image(config, device, TIMED) for _ in range(2))
    if reckoned > SHORT_STEP:
        return reckoned
    dataset = ImageDataset(torch.zeros(config.batch_size, *DATASETS[config.data], dtype=torch.uint8))
    steps = train(TrainState(config, dataset.shape, device), dataset)
    times = [time.perf_counter()]
    for step in islice(steps, 5):
        step.loss.item()  # waits for the device
        times.append(time.perf_counter())
        if len(times) > 2 and times[-1] - times[0] > PATIENCE:
            break
    return min(end - start for start, end in pairwise(times))


def is_due(step: int) -> bool:
    """Whether to look at a run at this step: at 10, 30, 100, 300 and so on."""
    digits = str(step)
    return step >= 10 and digits[0] in "13" and set(digits[1:]) <= {"0"}


def looks_in_steps(config: TrainConfig) -> float:
    """What all looks at a run take, in training steps; a forward pass is a third of forward and backward.

    Args:
        config: the run.
    """
    due = [first * 10**power for power in range(1, len(str(config.train_steps))) for first in (1, 3)]
    n_looks = 2 + sum(step < config.train_steps for step in due)  # the first and the last besides
    return n_looks * (N_SAMPLES * SAMPLE_STEPS + PROBE_IMAGES) / (3 * config.batch_size)


@dataclass
class History:
    """What was seen of a run so far."""

    steps: list[int] = field(default_factory=list)  # where ``losses`` stand
    losses: list[float] = field(default_factory=list)  # mean training loss since the point before
    probe_steps: list[int] = field(default_factory=list)  # where ``probes`` and ``samples`` stand
    probes: list[float] = field(default_factory=list)  # loss of the averaged weights on a fixed question
    samples: list[Tensor] = field(default_factory=list)  # each (N, C, H, W), from the same noise
    seconds: float = 0.0  # spent on training, over all sittings


class LiveRun:
    """A run in a folder. ``for _ in run.go():`` trains it, and may be left at any step.

    A run that was trained elsewhere, as with ``ddpm-lesson train``, has no history here and begins one.

    Args:
        config: what to train; if the folder holds a run of the same data, that one goes on with its own settings.
        folder: where it is kept.
        device: see ``get_device``.
        n_samples: images to draw at every look.

    Attributes:
        history: what was seen so far.
        rate: images a second in this sitting; 0 before it has begun.

    Raises:
        ValueError: if the folder holds a run on other data.
        CheckpointError, DataError: if it cannot be read, or its images are not to be had.
    """

    def __init__(
        self, config: TrainConfig, folder: str | Path, device: str | torch.device = "auto", n_samples: int = N_SAMPLES
    ):
        self.folder = Path(folder)
        saved = checkpoint.open_run(self.folder) if checkpoint.holds_run(self.folder) else None
        if saved and saved.config.data != config.data:
            found = f"{self.folder} is of {saved.config.data!r}"
            raise ValueError(f"folder must hold a run on {config.data!r} or none; {found}")
        if saved is None:
            checkpoint.check_free(self.folder)
        self.config = saved.config if saved else config
        self.dataset = images_of(self.config, saved)
        self.probe = make_probe(
            load_images(self.config.data, "test", self.config.image_size)[:PROBE_IMAGES], self.config.n_steps
        )
        self.state = TrainState(self.config, self.dataset.shape, device)
        self.history, self.rate, self.n_samples = History(), 0.0, n_samples
        if saved:
            checkpoint.restore(self.state, saved)
            self.history = read_history(self.folder / HISTORY, saved.step)
        if not self.history.samples:
            self.look()

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.state.step >= self.config.train_steps

    @property
    def seconds_left(self) -> float | None:
        """What the rest will take at the present rate; None before there is one."""
        left = (self.config.train_steps - self.state.step) * min(self.config.batch_size, len(self.dataset))
        return left / self.rate if self.rate else None

    def go(
        self, stop: threading.Event | None = None, every_seconds: float = 0.5, stop_at: int | None = None
    ) -> Iterator[History]:
        """Train on until all steps are taken, ``stop`` is set or ``stop_at`` is reached; then everything is saved.

        Args:
            stop: looked at between steps.
            every_seconds: between two reports.
            stop_at: the last step to take.

        Yields:
            The history, which has grown by a point.

        Raises:
            FloatingPointError: if loss or gradient is no longer a number; the last checkpoint stays.
            CheckpointError: if another run has the folder, or has gone on in it.
        """
        if self.finished or (stop_at is not None and self.state.step >= stop_at):
            return
        with checkpoint.locked(self.folder):
            self.mend()
            yield from self.steps(stop, every_seconds, stop_at)

    def mend(self) -> None:
        """See that the files of the folder are whole and of the present step."""
        if not checkpoint.holds_run(self.folder):
            return
        saved = checkpoint.open_run(self.folder)
        if saved.step > self.state.step:
            raise checkpoint.CheckpointError(
                f"the run in {self.folder} has gone on elsewhere, to step {saved.step}; open it anew"
            )
        if saved.step == self.state.step:
            checkpoint.heal(self.state, saved, self.files(), images=fingerprint(self.dataset))

    def steps(self, stop: threading.Event | None, every_seconds: float, stop_at: int | None) -> Iterator[History]:
        """Train as ``go`` says, in a folder that is locked."""
        pending, start = [], time.perf_counter()
        for step in train(self.state, self.dataset):
            pending.append(step.loss)
            stopped = step.step == stop_at or (stop is not None and stop.is_set())
            save = stopped or self.finished or step.step % self.config.save_every == 0
            look = self.finished or is_due(step.step)
            spent = time.perf_counter() - start
            if spent < every_seconds and not save and not look:
                continue
            self.note(pending, spent)
            self.check(step)
            if look:
                self.look()
            if save:
                self.save()
            yield self.history
            if stopped:
                return
            pending, start = [], time.perf_counter()

    def note(self, losses: list[Tensor], seconds: float) -> None:
        """Add a point to the curve."""
        self.history.steps.append(self.state.step)
        self.history.losses.append(float(torch.stack(losses).mean()))
        self.history.seconds += seconds
        self.rate = len(losses) * min(self.config.batch_size, len(self.dataset)) / seconds

    def check(self, step: TrainStep) -> None:
        """FloatingPointError if the weights are spoilt; a scaled gradient may overflow, its step is then skipped."""
        loss, norm = self.history.losses[-1], float(step.grad_norm)
        if not (math.isfinite(loss) and (self.state.scaler or math.isfinite(norm))):
            raise FloatingPointError(
                f"loss {loss} and gradient norm {norm} at step {step.step}: "
                "begin again in another folder, with a lower lr"
            )

    @torch.no_grad()
    def look(self) -> None:
        """Ask the averaged model: its loss on the probe, and its samples from the same noise as always."""
        averaged = self.state.averaged()
        generator = torch.Generator().manual_seed(0)
        steps = ddim_steps(averaged, (self.n_samples, *self.dataset.shape), SAMPLE_STEPS, generator=generator)
        self.history.probe_steps.append(self.state.step)
        self.history.probes.append(self.probe.loss(averaged))
        self.history.samples.append(final_samples(steps).cpu())

    def files(self) -> dict[str, bytes]:
        """The history, as it is kept beside the checkpoint."""
        points: dict[str, Any] = {**vars(self.history), "samples": torch.stack(self.history.samples)}
        return {HISTORY: checkpoint.tensor_bytes({name: torch.as_tensor(value) for name, value in points.items()})}

    def save(self) -> None:
        """Write the checkpoint and the history."""
        checkpoint.save_training(self.state, self.folder, self.files(), images=fingerprint(self.dataset))


def read_history(file: Path, last_step: int) -> History:
    """What ``LiveRun.save`` wrote, up to a step; an empty one if there is none or it is spoilt."""
    try:
        points, _ = checkpoint.read_tensors(file)
        values: dict[str, Any] = {name: list(p) if name == "samples" else p.tolist() for name, p in points.items()}
        history = History(**values)
        points = sum(step <= last_step for step in history.steps)
        looks = sum(step <= last_step for step in history.probe_steps)
        del history.steps[points:], history.losses[points:]
        del history.probe_steps[looks:], history.probes[looks:], history.samples[looks:]
        return history
    except Exception:  # the checkpoint is what counts
        return History()

"""Training: choose a run, watch it, and look back on one."""

import html
import tempfile
import time
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch
from torch import Tensor

from ddpm_lesson import checkpoint
from ddpm_lesson.data import DATASETS, ImageDataset, on_this_machine
from ddpm_lesson.lesson.ch10_training.measure import average_of, spread, wandering_weight
from ddpm_lesson.lesson.ch10_training.memory import MemoryNeeds
from ddpm_lesson.lesson.ch10_training.plots import (
    AveragePlot,
    MemoryPlot,
    RunPlot,
    WobblePlot,
    time_machine_picture,
    time_machine_strip,
)
from ddpm_lesson.lesson.ch10_training.record import CURVES, RECORDS, Record, load_curve, load_record
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.live import BUDGETS, LEAST_STEPS, LiveRun, looks_in_steps, within_budget
from ddpm_lesson.lesson.kit.panel import DeviceChoice, Panel, choice, slider, stops, widget_view
from ddpm_lesson.run import interruptible
from ddpm_lesson.train import PRESETS, TrainConfig, TrainState, seconds_per_image, train

TIMED = 0.1  # seconds that a timed pass should last at least
SHORT_STEP = 5.0  # seconds; shorter steps are taken, longer ones reckoned from a pass over a few images
PATIENCE = 3.0  # seconds of taking steps, after which two must do


class TrainingChoice:
    """Preset, device and budget of a run, and how long it will take on this machine.

    ``choice.config`` and ``choice.device`` are what is chosen now; ``choice.seconds`` is the time it should take,
    looks at the samples included.

    Args:
        budget: to begin with, one of ``BUDGETS``.
    """

    def __init__(self, budget: str = "quick"):
        self.devices = DeviceChoice()
        self.controls = {"preset": choice("preset", PRESETS), "budget": choice("budget", BUDGETS, budget)}
        self.words = widgets.HTML()
        for control in self.controls.values():
            control.observe(self.measure, names="value")
        for button in self.devices.buttons.values():
            button.on_click(self.measure)
        self.box = widgets.VBox([*self.controls.values(), self.devices.box, self.words])
        self.measure()

    @property
    def device(self) -> torch.device:
        """The device that is chosen now."""
        return self.devices.device

    @property
    def folder(self) -> Path | None:
        """Where the run is kept, below ``runs``; None for quick ones, which are not kept."""
        preset, budget = (control.value for control in self.controls.values())
        return None if budget == "quick" else Path("runs") / f"{preset}-{budget}"

    def measure(self, change: Any = None) -> None:
        """Time some steps and say what the run will take, whether that is too long, and what is there already."""
        preset, budget = (control.value for control in self.controls.values())
        self.words.value = "measuring ..."
        per_step = step_seconds(preset, str(self.device))
        self.config: TrainConfig = within_budget(PRESETS[preset], budget, per_step)
        self.seconds = (self.config.train_steps + looks_in_steps(self.config)) * per_step
        share = self.config.train_steps / PRESETS[preset].train_steps
        parts = [
            f"{self.config.train_steps:,} steps of {self.config.batch_size} images, {in_percent(share)} of the whole "
            f"run: <b>about {minutes(self.seconds)}</b> on this machine, as measured on {self.device}."
        ]
        if BUDGETS[budget] and self.seconds > 2 * BUDGETS[budget]:
            parts.append(
                f"<b>Too slow here for the budget {budget}:</b> {LEAST_STEPS} steps are the fewest that show anything."
            )
        if self.config.data not in on_this_machine():
            parts.append("The data set will be downloaded first.")
        if self.folder and (found := progress_in(self.folder)):
            parts.append(found)
        self.words.value = " ".join(parts)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        chosen = ", ".join(f"{name} <b>{control.value}</b>" for name, control in self.controls.items())
        devices = "<br>".join(
            f"{button.description}: {html.escape(button.tooltip) if button.disabled else 'there'}"
            for button in self.devices.buttons.values()
        )
        return widget_view(self.box) | {
            "text/plain": "Sliders for preset and budget, buttons for the device",
            "text/html": f"{chosen}<br>{devices}<br>{self.words.value}",
        }


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


def progress_in(folder: Path) -> str:
    """What to expect of the run that a folder holds; nothing if there is none."""
    if not (folder / checkpoint.TRAINING).is_file():
        return ""
    try:
        step, steps = checkpoint.read_settings(folder)["step"], checkpoint.load_config(folder).train_steps
    except (checkpoint.CheckpointError, KeyError) as error:
        return f"The run in <code>{folder}</code> cannot be read: {html.escape(str(error))}."
    where = f"<code>{folder}</code> holds a run at step {step:,} of {steps:,}"
    return f"{where}: it goes on from there." if step < steps else f"{where}: delete the folder to train anew."


def in_percent(share: float) -> str:
    """A share with as many digits as tell something."""
    return f"{share:.0%}" if share >= 0.095 else f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def minutes(seconds: float) -> str:
    """A duration in a fitting unit."""
    units = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
    size, unit = next((size, unit) for size, unit in units if seconds >= 1.5 * size or size == 1)
    return f"{seconds / size:.0f} {unit}"


def choose_training(budget: str = "quick") -> TrainingChoice:
    """Sliders for preset and budget, and the GPU toggle, with the expected time."""
    return TrainingChoice(budget)


class Dashboard:
    """A run to watch: loss, samples, speed and time left.

    Show it, then call ``train()``. The interrupt button of the notebook stops it after the present step, with all of
    it saved; ``train()`` goes on from there, and so does a new dashboard on the same folder. Pressed twice, it stops
    within the step, and the run is back at its last checkpoint.

    Args:
        config, folder, device: as in ``LiveRun``.
        reference: (steps, losses) of a run to compare with.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: str | Path,
        device: str | torch.device = "auto",
        reference: tuple[list[int], list[float]] = ((), ()),
    ):
        self.again = lambda: LiveRun(config, folder, device)
        self.run = self.again()
        self.plot = RunPlot(self.run.config.train_steps, reference)
        self.image = widgets.HTML()
        done = f"finished; delete {self.run.folder} to train anew"
        self.show("ready" if self.run.state.step == 0 else done if self.run.finished else "saved; train() goes on")
        self.box = widgets.VBox([self.image])

    def show(self, state: str) -> None:
        """Bring the picture up to date."""
        history = self.run.history
        headline = f"{self.run.config.data}, step {self.run.state.step:,} of {self.run.config.train_steps:,}: {state}"
        self.picture = self.plot.draw(
            (history.steps, history.losses), (history.probe_steps, history.probes), history.samples, headline
        )
        self.image.value = self.picture.html()

    def state(self) -> str:
        """Losses, speed and time left, in words."""
        history, left = self.run.history, self.run.seconds_left
        parts = [f"loss {history.losses[-1]:.3f}", f"average {history.probes[-1]:.3f}", f"{self.run.rate:.0f} images/s"]
        return ", ".join(parts) + (f", {minutes(left)} left" if left else ", finished")

    def train(self, stop_at: int | None = None) -> Picture:
        """Train until all steps are taken, the notebook's interrupt button is pressed, or ``stop_at`` is reached.

        Returns:
            The last picture, which stays in the notebook.

        Raises:
            FloatingPointError: if loss or gradient is no longer a number; the run is back at its last checkpoint.
        """
        try:
            with interruptible() as stop:
                for _ in self.run.go(stop, stop_at=stop_at):
                    self.show(self.state())
        except KeyboardInterrupt:
            self.go_back("interrupted within a step")
            return self.picture
        except FloatingPointError:
            self.go_back("the loss is no longer a number")
            raise
        if self.run.history.losses and not self.run.finished:
            self.show(f"stopped and saved at loss {self.run.history.losses[-1]:.3f}; train() goes on")
        return self.picture

    def go_back(self, reason: str) -> None:
        """Take up the run as it was saved last, or from its beginning; half a step may have spoilt what is held."""
        self.run = self.again()
        place = f"its checkpoint of step {self.run.state.step:,}" if self.run.state.step else "its beginning"
        self.show(f"{reason}; back at {place}")

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = self.picture._repr_mimebundle_()
        return widget_view(self.box) | data, metadata


def watch_training(selected: TrainingChoice) -> Dashboard:
    """A dashboard for what was chosen, over the loss curve of the lesson's own run of this preset, if there is one.

    A quick run is kept in a new folder among the temporary files, until the system clears them away.
    """
    preset = selected.controls["preset"].value
    folder = selected.folder or Path(tempfile.mkdtemp(prefix=f"ddpm-{preset}-"))
    return Dashboard(selected.config, folder, selected.device, reference_curve(preset))


def reference_curve(preset: str) -> tuple[list[int], list[float]]:
    """Steps and losses of the run that comes with the lesson; empty if there is none of this preset."""
    if preset in CURVES:
        return load_curve(preset)
    if preset in RECORDS:
        steps, losses = zip(*load_record(preset).losses, strict=True)
        return list(steps), list(losses)
    return [], []


# Panels


def show_time_machine(record: Record) -> Panel:
    """What a run could do after 1, 3, 10, 30, .. steps."""
    what = f"on {record.info['data']}"

    def draw(step: int) -> Picture:
        samples, guesses = record.looks[record.steps.index(step)]
        return time_machine_picture(step, samples, record.xt, guesses, what)

    samples, guesses = zip(*record.looks, strict=True)
    return Panel(
        "What does a network learn first, and what last?",
        lru_cache(draw),
        static=time_machine_strip(record.steps, samples, record.xt, guesses, what),
        step=stops("step", record.steps, record.steps[0]),
    )


def show_average() -> Panel:
    """A weight that wanders, and its running average with and without warm-up."""
    weights = wandering_weight()
    plot, n = AveragePlot(weights), len(weights) - 1

    def draw(decay: float, warm_up: str, step: int) -> Picture:
        values, shares = average_of(weights[: step + 1], decay, warm_up=warm_up == "yes")
        what = f"decay {decay:g}, {'with' if warm_up == 'yes' else 'without'} warm-up"
        return plot.draw(values, shares, what)

    return Panel(
        "How long does the average remember where it began?",
        draw,
        decay=stops("decay", (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999), 0.99),
        warm_up=choice("warm-up", ("no", "yes")),
        step=slider("step", 1, n, n // 2),
    )


def show_wobble(losses: Tensor) -> Panel:
    """Losses of batches from a network that stands still.

    Args:
        losses: (n times, B images), of one image each.
    """
    plot = WobblePlot()

    def draw(batch_size: int, even: str, seed: int) -> Picture:
        generator = torch.Generator().manual_seed(seed)
        shape = (plot.n, batch_size)
        t = torch.randint(len(losses), shape, generator=generator)
        if even == "yes":  # one time out of each of batch_size equal parts
            shift = torch.rand(shape, generator=generator)
            t = ((torch.arange(batch_size) + shift) * len(losses) / batch_size).long().clamp_max(len(losses) - 1)
        image = torch.randint(losses.shape[1], shape, generator=generator)
        predicted = spread(losses).of_batch(batch_size, stratified=even == "yes") ** 0.5
        what = f"{batch_size} images, t {'spread evenly' if even == 'yes' else 'drawn freely'}"
        return plot.draw(losses[t, image].mean(1), predicted, what)

    return Panel(
        "The network does not change at all. How much does its loss move?",
        draw,
        batch_size=stops("batch size", (16, 32, 64, 128, 256), 32),
        even=choice("t spread evenly", ("no", "yes")),
        seed=slider("seed", 0, 9, 0),
    )


def show_memory(measured: dict[str, MemoryNeeds], start: str = "cifar10") -> Panel:
    """Memory of training and sampling, over the batch and the parts it is worked off in.

    Args:
        measured: preset -> its memory.
        start: preset to begin with.
    """
    sizes = (16, 32, 64, 128, 256)
    most = {name: sum(memory.training(sizes[-1]).values()) * 1.15 for name, memory in measured.items()}
    plots = {name: MemoryPlot(list(memory.training(1)), most[name]) for name, memory in measured.items()}

    def draw(preset: str, batch_size: int, parts: int) -> Picture:
        training = measured[preset].training(-(-batch_size // parts))
        what = f"{preset}, batch {batch_size} in {parts} part{'s' if parts > 1 else ''}"
        return plots[preset].draw(training, measured[preset].sampling(batch_size), what)

    return Panel(
        "What fills the memory in training, and what does it help to work off a batch in parts?",
        draw,
        preset=choice("preset", measured, start),
        batch_size=stops("batch size", sizes, 128),
        parts=stops("parts", (1, 2, 4, 8), 1),
    )

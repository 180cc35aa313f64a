"""A live run in a notebook: the controls that choose it, and the dashboard that shows it while it trains."""

import html
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch

from ddpm_lesson import checkpoint
from ddpm_lesson.data import on_this_machine
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.live import BUDGETS, LEAST_STEPS, LiveRun, looks_in_steps, step_seconds, within_budget
from ddpm_lesson.lesson.kit.panel import DeviceChoice, choice, widget_view
from ddpm_lesson.lesson.kit.progress import Curve, RunPlot
from ddpm_lesson.run import interruptible
from ddpm_lesson.train import PRESETS, TrainConfig


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
        if (allowed := BUDGETS[budget]) and self.seconds > 2 * allowed:
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


def choose_training(budget: str = "quick") -> TrainingChoice:
    """Sliders for preset and budget, and the GPU toggle, with the expected time."""
    return TrainingChoice(budget)


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
        reference: Curve = ((), ()),
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

"""Training: watch a run, look back on one, and play with its average, its wobble and its memory."""

import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ddpm_lesson.lesson.ch10_training.measure import average_of, spread
from ddpm_lesson.lesson.ch10_training.memory import MemoryNeeds
from ddpm_lesson.lesson.ch10_training.plots import AveragePlot, MemoryPlot, WobblePlot, look_picture, looks_strip
from ddpm_lesson.lesson.ch10_training.record import CURVES, Record, load_curve
from ddpm_lesson.lesson.kit.dashboard import Dashboard, TrainingChoice
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.panel import Panel, choice, slider, stops
from ddpm_lesson.lesson.kit.proof import numbers


def watch_training(selected: TrainingChoice) -> Dashboard:
    """A dashboard for what was chosen, over the loss curve of the lesson's own run of this preset, if there is one.

    A quick run is kept in a new folder among the temporary files, until the system clears them away.
    """
    preset = selected.controls["preset"].value
    folder = selected.folder or Path(tempfile.mkdtemp(prefix=f"ddpm-{preset}-"))
    reference = load_curve(preset) if preset in CURVES else ([], [])
    return Dashboard(selected.config, folder, selected.device, reference)


def show_time_machine(record: Record) -> Panel:
    """What a run could do after 1, 3, 10, 30, .. steps."""
    what = f"on {record.info['data']}"
    samples, guesses = zip(*record.looks, strict=True)

    @lru_cache
    def draw(step: int) -> Picture:
        i = record.steps.index(step)
        return look_picture(step, samples[i], record.xt, guesses[i], what)

    return Panel(
        "What does a network learn first, and what last?",
        draw,
        static=looks_strip(record.steps, samples, record.xt, guesses, what),
        step=stops("step", record.steps, record.steps[0]),
    )


def show_average() -> Panel:
    """A weight from a random start to about 0, noisy ever after, and its running average with and without warm-up."""
    weights = 1.5 * torch.exp(-torch.arange(201) / 15) + 0.2 * numbers(201)
    plot, n = AveragePlot(weights), len(weights) - 1

    def draw(decay: float, warm_up: str, step: int) -> Picture:
        what = f"decay {decay:g}, {'with' if warm_up == 'yes' else 'without'} warm-up"
        return plot.draw(*average_of(weights[: step + 1], decay, warm_up=warm_up == "yes"), what)

    return Panel(
        "How long does the average remember where it began?",
        draw,
        decay=stops("decay", (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999), 0.99),
        warm_up=choice("warm-up", ("no", "yes")),
        step=slider("step", 1, n, n // 2),
    )


def show_wobble(losses: Tensor) -> Panel:
    """Losses of batches from a network that stands still; ``losses`` (n times, B images) are of one image each."""
    plot, (n, n_images) = WobblePlot(), losses.shape

    def draw(batch_size: int, even: str, seed: int) -> Picture:
        generator, shape = torch.Generator().manual_seed(seed), (plot.n, batch_size)
        t = torch.randint(n, shape, generator=generator)
        if even == "yes":  # one time out of each of batch_size equal parts
            shift = torch.rand(shape, generator=generator)
            t = ((torch.arange(batch_size) + shift) * n / batch_size).long().clamp_max(n - 1)
        image = torch.randint(n_images, shape, generator=generator)
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
    """Memory of training and sampling, over the batch and the parts it is worked off in, for ``measured`` presets."""
    sizes = (16, 32, 64, 128, 256)
    largest = {name: memory.training(sizes[-1]) for name, memory in measured.items()}
    plots = {name: MemoryPlot(list(parts), sum(parts.values()) * 1.15) for name, parts in largest.items()}

    def draw(preset: str, batch_size: int, parts: int) -> Picture:
        training, sampling = measured[preset].training(-(-batch_size // parts)), measured[preset].sampling(batch_size)
        what = f"{preset}, batch {batch_size} in {parts} part{'s' if parts > 1 else ''}"
        return plots[preset].draw(training, sampling, what)

    return Panel(
        "What fills the memory in training, and what does it help to work off a batch in parts?",
        draw,
        preset=choice("preset", measured, start),
        batch_size=stops("batch size", sizes, 128),
        parts=stops("parts", (1, 2, 4, 8), 1),
    )

"""Training: a run while it goes on, what it can do at each step, the average of its weights, and its illnesses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageChops
from torch import Tensor

from ddpm_lesson.lesson.kit.colours import BLACK, BLUE, GREEN, GREY, LINES, ORANGE, PINK, SKY, YELLOW
from ddpm_lesson.lesson.kit.figure import (
    GRID,
    LEFT,
    SCALE,
    WIDTH,
    LiveFigure,
    Picture,
    headline,
    key,
    picture,
    stacked,
    subplots,
)
from ddpm_lesson.lesson.kit.images import contact_sheet
from ddpm_lesson.pictures import grid_image

LOOKS = 6  # grids of samples beside each other
LOOK_SIDE = 190  # pixels
STRIP = 8  # steps beside each other in a strip
Curve = tuple[Sequence[float], Sequence[float]]  # steps and losses


class RunPlot:
    """A run in progress: its loss over that of a reference, and its samples so far.

    Args:
        n_steps: of the whole run.
        reference: the curve of a run that went well.
    """

    def __init__(self, n_steps: int, reference: Curve = ((), ())):
        figure, (axes,) = subplots(3, room=0.45, which="both")
        axes.set(xlim=(0.7, max(n_steps, 2) * 1.4), xscale="log", yscale="log", ylim=(0.015, 3), ylabel="loss")
        axes.set_xlabel("optimiser step", labelpad=1)
        axes.plot(*reference, color=GREY, linewidth=1, alpha=0.6)
        (self.loss,) = axes.plot([], [], color=BLUE, linewidth=1.5)
        (self.probe,) = axes.plot([], [], color=ORANGE, linewidth=2, linestyle="--", marker="o", markersize=4)
        lines = {
            "solid: loss of the batches": BLUE,
            "dashed: average of the weights, same question always": ORANGE,
            "thin: a run that comes with the lesson": GREY,
        }
        key(axes, lines, "lower left")
        self.live = LiveFigure(figure, [self.loss, self.probe], headline(figure))

    def draw(self, losses: Curve, probes: Curve, samples: Sequence[Tensor], words: str) -> Picture:
        """The run as it stands.

        Args:
            losses: of the batches.
            probes: of the averaged weights; ``samples`` were drawn at the same steps.
            samples: each (N, C, H, W) in [-1, 1].
            words: how far the run is.
        """
        self.loss.set_data(*losses)
        self.probe.set_data([max(step, 1) for step in probes[0]], probes[1])
        chosen = sorted({round(i) for i in np.linspace(0, len(samples) - 1, min(LOOKS, len(samples)))})
        grids = [grid_of(samples[i], LOOK_SIDE) for i in chosen]
        grids += [Image.new("RGB", grids[0].size, "white")] * (LOOKS - len(grids))
        captions = [f"step {probes[0][i]:,}" for i in chosen] + [""] * (LOOKS - len(chosen))
        alt = f"Training: {words}. Samples of the average after steps {', '.join(str(probes[0][i]) for i in chosen)}"
        return picture(stacked(self.live.image(words), contact_sheet({"": grids}, captions)), alt, SCALE)


def grid_of(images: Tensor, side: int) -> Image.Image:
    """A square grid of images, exactly ``side`` pixels wide."""
    return grid_image(images, min_side=side).resize((side, side), Image.Resampling.BOX)


def time_machine_picture(step: int, samples: Tensor, xt: Tensor, guesses: Tensor, what: str) -> Picture:
    """What a model could do at one step: samples from noise, and guesses of noisy images.

    Args:
        step: of the optimiser.
        samples: (16, C, H, W) in [-1, 1].
        xt, guesses: (16, C, H, W), noisy images and the guesses of what they were.
        what: name of the run.
    """
    grids = [grid_of(x, 380) for x in (samples, xt, guesses)]
    captions = [f"samples after step {step:,}", "the question: x_t", "its guesses x0_hat"]
    contrast = float(guesses.std())
    alt = (
        f"The run {what} after {step} steps: 16 samples with brightness spread {float(samples.std()):.2f}, and its "
        f"guesses of four noisy images at four times each, with spread {contrast:.2f}"
    )
    return picture(one_channel_if_grey(contact_sheet({"": grids}, captions)), alt, SCALE)


def time_machine_strip(
    steps: Sequence[int], samples: Sequence[Tensor], xt: Tensor, guesses: Sequence[Tensor], what: str
) -> Picture:
    """Samples over guesses, one column for each step, and the question in front.

    Of more than ``STRIP`` steps the early ones are left out, but for the very first.
    """
    shown = [0, *range(max(1, len(steps) - STRIP + 1), len(steps))]
    blank = Image.new("RGB", (150, 150), "white")
    rows = {
        "samples": [blank] + [grid_of(samples[i], 150) for i in shown],
        "x0_hat": [grid_of(xt, 150)] + [grid_of(guesses[i], 150) for i in shown],
    }
    sheet = contact_sheet(rows, ["asked: x_t", *(f"step {steps[i]:,}" for i in shown)])
    alt = (
        f"The run {what} after steps {', '.join(str(steps[i]) for i in shown)}: samples from the same noise, over "
        "guesses x0_hat of the noisy images x_t on the left"
    )
    return picture(one_channel_if_grey(sheet), alt, SCALE)


def one_channel_if_grey(image: Image.Image) -> Image.Image:
    """The same picture in a third of the bytes if it has no colour."""
    red, *others = image.split()
    grey = all(ImageChops.difference(red, other).getbbox() is None for other in others)
    return red if grey else image


class AveragePlot:
    """Weights that wander, their average, and what each step counts in it."""

    def __init__(self, weights: Tensor):
        self.n = len(weights) - 1
        figure, (left, right) = subplots(3.6, 2, room=0.7)
        for axes in (left, right):
            axes.set(xlim=(0, self.n))
            axes.set_xlabel("step", labelpad=1)
        left.set(title="one weight of the network", ylim=(float(weights.min()) - 0.1, float(weights.max()) + 0.1))
        right.set(title="share of each step in the average", yscale="log", ylim=(1e-5, 1.5))
        left.plot(range(self.n + 1), weights.numpy(), color=SKY, linewidth=1)
        key(left, {"thin: the weight itself": BLUE, "thick: its average": ORANGE}, "upper right")
        (self.average,) = left.plot([], [], color=ORANGE, linewidth=2.5)
        (self.shares,) = right.plot([], [], color=ORANGE, linewidth=2)
        (self.first,) = right.plot([], [], color=BLACK, marker="o", linestyle="")
        self.dot = right.text(0.04, 0.92, "", transform=right.transAxes)
        self.lowest = right.get_ylim()[0]
        self.marks = [axes.axvline(0, color=GREY, linewidth=1) for axes in (left, right)]
        self.live = LiveFigure(figure, [self.average, self.shares, self.first, self.dot, *self.marks], headline(figure))

    def draw(self, average: Tensor, shares: Tensor, what: str) -> Picture:
        """The average up to a step, and the shares of the steps in it; both (n+1,)."""
        n = len(shares) - 1
        self.average.set_data(range(n + 1), average.numpy())
        self.shares.set_data(range(1, n + 1), shares[1:].numpy())
        self.first.set_data([0], [float(shares[0])])
        self.dot.set_text("dot: the first weights" + (" (below the frame)" if shares[0] < self.lowest else ""))
        for mark in self.marks:
            mark.set_xdata([n, n])
        words = f"{what}, step {n}: the random first weights still count {percent(float(shares[0]))}"
        return self.live.picture(f"{words}; the average is {float(average[-1]):.3f}", words)


def percent(share: float) -> str:
    """A share with a sensible number of digits."""
    return f"{share:.1%}" if share >= 1e-3 else ("less than 0.1%" if share else "nothing")


def rate_picture(rates: Mapping[str, Sequence[float]]) -> Picture:
    """Learning rates over the steps of runs, each in shares of its own length and height."""
    figure, (axes,) = subplots(2.6)
    for (name, values), (colour, style) in zip(rates.items(), LINES, strict=False):
        top = max(values)
        x = np.arange(len(values)) / (len(values) - 1)
        axes.plot(x, np.asarray(values) / top, color=colour, linestyle=style, linewidth=2, label=f"{name}: top {top:g}")
    axes.set(xlabel="share of the run", ylabel="share of the top", ylim=(0, 1.08))
    axes.legend(loc="lower center")
    each = "; ".join(f"{name} starts at {values[0]:.2g}, ends at {values[-1]:.2g}" for name, values in rates.items())
    return picture(figure, f"Learning rate over the run, rising, flat, falling: {each}")


def curve_picture(
    steps: Sequence[int], losses: Sequence[float], what: str, window: int = 0, marks: Mapping[int, str] | None = None
) -> Picture:
    """The loss over the steps, and its mean over a window around each point.

    Args:
        steps, losses: points of the curve.
        what: name of the run.
        window: points of the mean on either side; no mean if 0.
        marks: step -> what happened there.
    """
    marks = marks or {}
    figure, (axes,) = subplots(3.2, which="both")
    axes.plot(steps, losses, color=BLUE, linewidth=0.7 if window else 1.5, alpha=0.4 if window else 1)
    ends = f"{losses[0]:.2f} at step {steps[0]:,} and {losses[-1]:.3f} at step {steps[-1]:,}"
    if window:
        mean = np.convolve(losses, np.full(2 * window + 1, 1 / (2 * window + 1)), mode="valid")
        axes.plot(steps[window:-window], mean, color=ORANGE, linewidth=2)
        key(axes, {"thin: each point": BLUE, f"thick: mean over {2 * window + 1} of them": ORANGE}, "upper right")
        ends = f"its mean over {2 * window + 1} points falls from {mean[0]:.4f} to {mean[-1]:.4f}"
    axes.set(xlabel="optimiser step", ylabel="loss", yscale="log" if max(losses) > 3 * min(losses) else "linear")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    for i, (step, name) in enumerate(marks.items()):
        axes.axvline(step, color=GREY, linewidth=1, linestyle=":")
        axes.text(step, 0.72 - 0.1 * i, f" {name}", color=GREY, transform=axes.get_xaxis_transform())
    told = "".join(f"; from step {step:,} on: {name}" for step, name in marks.items())
    return picture(figure, f"Loss of {what}: {ends}{told}")


def loss_by_time_picture(times: Tensor, losses: Tensor, straight: Tensor) -> Picture:
    """The loss at every t: mean and the middle 80 % of the images, beside the best straight line.

    Args:
        times: (n,).
        losses: (n, B).
        straight: (T,), of the best linear guess.
    """
    figure, (axes,) = subplots(3.5, which="both")
    low, high = (losses.quantile(q, dim=1).numpy() for q in (0.1, 0.9))
    mean = losses.mean(1).numpy()
    axes.fill_between(times.numpy(), low, high, color=SKY, alpha=0.5, linewidth=0)
    axes.plot(times.numpy(), mean, color=BLUE, linewidth=2)
    axes.plot(np.arange(len(straight)), straight.numpy(), color=ORANGE, linestyle="--", linewidth=2)
    axes.axhline(1, color=GREY, linewidth=1)
    axes.set(yscale="log", xlabel="t", ylabel="loss", xlim=(0, len(straight)), ylim=(5e-4, 2))
    end = len(straight)
    axes.text(0.55 * end, 1.1, "guessing no noise at all: 1", color=GREY)
    axes.text(0.3 * end, 0.25, "dashed: the best straight line", color=ORANGE)
    axes.text(0.04 * end, 8e-4, "solid: the network (band: 80 % of the images)", color=BLUE)
    ends = f"from {mean[0]:.2f} at t = {int(times[0])} to {mean[-1]:.3f} at t = {int(times[-1])}"
    worse = [int(t) for t, value in zip(times, mean, strict=True) if value > straight[int(t)]]
    where = f"the network is above it from t = {worse[0]} on" if worse else "the network is below it everywhere"
    return picture(
        figure,
        f"Loss by time: the network {ends}; the best straight line has the mean {straight.mean():.3f}, and {where}",
    )


class WobblePlot:
    """Losses of many batches from a network that does not change."""

    def __init__(self, n: int = 400):
        self.n = n
        figure, (axes,) = subplots(2.9, room=0.5)
        axes.set(xlim=(0, n), ylim=(0, 0.35), ylabel="loss of the batch")
        axes.set_xlabel("batch (the network stands still)", labelpad=1)
        (self.points,) = axes.plot([], [], color=BLUE, marker=".", markersize=4, linewidth=0.5)
        self.mean = axes.axhline(0, color=ORANGE, linestyle="--")
        self.live = LiveFigure(figure, [self.points, self.mean], headline(figure))

    def draw(self, losses: Tensor, predicted: float, what: str) -> Picture:
        """Losses (n,), and the standard deviation that the formula predicts."""
        self.points.set_data(np.arange(self.n) + 0.5, losses.numpy())
        self.mean.set_ydata([float(losses.mean())] * 2)
        words = f"{what}: standard deviation {float(losses.std()):.3f}, predicted {predicted:.3f}"
        first = ", ".join(f"{loss:.4f}" for loss in losses[:3].tolist())
        alt = f"Losses of {self.n} batches, {words}; mean {float(losses.mean()):.3f}; the first three {first}"
        return self.live.picture(alt, words)


def courses_picture(courses: Mapping[str, Any], words: Mapping[str, str]) -> Picture:
    """Runs under each other: the loss of every step beside the samples, with what can be read off.

    Args:
        courses: name -> a course with ``losses`` and ``samples``; the first is the healthy one, drawn into all.
        words: name -> what to read off, a line or two.
    """
    figure = Figure(figsize=(WIDTH, 1.5 * len(courses) + 0.3))
    healthy = next(iter(courses.values()))
    n = len(courses)
    for i, (name, course) in enumerate(courses.items()):
        bottom, height = 0.04 + 0.96 * (1 - (i + 1) / n + 0.16 / n), 0.6 / n
        axes = figure.add_axes((0.06, bottom, 0.36, height))
        axes.plot(range(1, len(healthy.losses) + 1), healthy.losses, color=GREY, linewidth=1)
        axes.plot(range(1, len(course.losses) + 1), course.losses, color=BLUE, linewidth=1.5)
        axes.set(yscale="log", ylim=(0.02, 8), xlim=(1, len(healthy.losses)))
        axes.grid(**GRID)
        axes.tick_params(labelsize=8)
        axes.set_title(name, loc="left", fontsize=10, weight="bold", color=BLACK if i == 0 else ORANGE)
        shown = figure.add_axes((0.44, bottom, 0.21, height), xticks=[], yticks=[])
        shown.imshow(np.asarray(grid_image(course.samples, len(course.samples) // 2)))
        figure.text(0.67, bottom + height, words[name], va="top", fontsize=9)
    figure.text(
        0.06, 0.004, "blue: loss of every step; grey: that of the healthy run; right: samples", fontsize=8, color=GREY
    )
    each = "; ".join(f"{name}: {words[name]}" for name in courses).replace("\n", ", ")
    return LiveFigure(figure, []).picture(f"{n} runs, each with its loss curve and samples. {each}")


PART_COLOURS = (BLUE, SKY, GREEN, YELLOW, ORANGE, PINK)


class MemoryPlot:
    """Memory of training, part by part, over that of sampling.

    Args:
        parts: of training, by name.
        most: bytes at the end of the axis.
    """

    def __init__(self, parts: Sequence[str], most: float):
        figure, (axes,) = subplots(2.5, room=0.7, grid="x")
        figure.subplots_adjust(left=0.09)  # for the names of the bars
        axes.set(xscale="linear", ylim=(-0.6, 1.6), yticks=[0, 1])
        axes.set_yticklabels(["sampling", "training"])
        self.unit, self.size = ("GB", 1e9) if most >= 1e9 else ("MB", 1e6)
        axes.set_xlabel("gigabytes" if self.unit == "GB" else "megabytes", labelpad=1)
        axes.set_xlim(0, most / self.size)
        self.parts, self.axes = list(parts), axes
        self.bars = [axes.barh(1, 0, color=c, edgecolor=BLACK, linewidth=0.5)[0] for c in PART_COLOURS[: len(parts)]]
        self.sampling = axes.barh(0, 0, color=GREY)[0]
        self.texts = [axes.text(0, y, "", va="center") for y in (0, 1)]
        for i, (part, colour) in enumerate(zip(parts, PART_COLOURS, strict=False)):
            figure.text(LEFT + 0.165 * i, 0.77, "■", color=colour)
            figure.text(LEFT + 0.017 + 0.165 * i, 0.77, part, fontsize=9)
        self.live = LiveFigure(figure, [*self.bars, self.sampling, *self.texts], headline(figure))

    def draw(self, training: Mapping[str, float], sampling: float, what: str) -> Picture:
        """Bytes of each part, and of sampling."""
        left = 0.0
        for bar, part in zip(self.bars, self.parts, strict=True):
            bar.set(x=left, width=training[part] / self.size)
            left += training[part] / self.size
        self.sampling.set_width(sampling / self.size)
        sizes = [
            f"{value:.2f} GB" if self.unit == "GB" else f"{value:.0f} MB" for value in (sampling / self.size, left)
        ]
        for text, value, words in zip(self.texts, (sampling / self.size, left), sizes, strict=True):
            text.set(x=value, text=f" {words}")
            text.set_ha("left" if value < 0.85 * self.axes.get_xlim()[1] else "right")
        words = f"{what}: training {sizes[1]}, sampling {sizes[0]}"
        each = ", ".join(f"{part} {value / self.size:.3g}" for part, value in training.items())
        return self.live.picture(f"Memory, {words}; of training: {each} {self.unit}", words)

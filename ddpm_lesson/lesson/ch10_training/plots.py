"""Training: what a run can do at each step, the average of its weights, its loss, its illnesses and its memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageChops
from torch import Tensor

from ddpm_lesson.lesson.kit.colours import BLACK, BLUE, GREEN, GREY, LINES, ORANGE, PINK, SKY, YELLOW
from ddpm_lesson.lesson.kit.figure import GRID, SCALE, WIDTH, LiveFigure, Picture, headline, key, picture, subplots
from ddpm_lesson.lesson.kit.images import contact_sheet
from ddpm_lesson.lesson.kit.progress import grid_of
from ddpm_lesson.pictures import grid_image

STRIP = 8  # steps beside each other in a strip
PART_COLOURS = (BLUE, SKY, GREEN, YELLOW, ORANGE, PINK)


def look_picture(step: int, samples: Tensor, xt: Tensor, guesses: Tensor, what: str) -> Picture:
    """What the run ``what`` could do at one step: samples, noisy images, and guesses of these; (16, C, H, W) each."""
    alt = (
        f"The run {what} after {step} steps: 16 samples with brightness spread {float(samples.std()):.2f}, and its "
        f"guesses of four noisy images at four times each, with spread {float(guesses.std()):.2f}"
    )
    captions = [f"samples after step {step:,}", "the question: x_t", "its guesses x0_hat"]
    return sheet_picture({"": [grid_of(x, 380) for x in (samples, xt, guesses)]}, captions, alt)


def looks_strip(
    steps: Sequence[int], samples: Sequence[Tensor], xt: Tensor, guesses: Sequence[Tensor], what: str
) -> Picture:
    """Samples over guesses, one column for each step, and the question in front.

    Of more than ``STRIP`` steps the early ones are left out, but for the very first.
    """
    shown = [0, *range(max(1, len(steps) - STRIP + 1), len(steps))]
    rows = {
        "samples": [Image.new("RGB", (150, 150), "white"), *(grid_of(samples[i], 150) for i in shown)],
        "x0_hat": [grid_of(x, 150) for x in (xt, *(guesses[i] for i in shown))],
    }
    alt = (
        f"The run {what} after steps {', '.join(str(steps[i]) for i in shown)}: samples from the same noise, over "
        "guesses x0_hat of the noisy images x_t on the left"
    )
    return sheet_picture(rows, ["asked: x_t", *(f"step {steps[i]:,}" for i in shown)], alt)


def sheet_picture(rows: Mapping[str, Sequence[Image.Image]], captions: Sequence[str], alt: str) -> Picture:
    """Named rows of images; in a third of the bytes if none has colour."""
    sheet = contact_sheet(rows, captions)
    red, *others = sheet.split()
    coloured = any(ImageChops.difference(red, other).getbbox() for other in others)
    return picture(sheet if coloured else red, alt, SCALE)


class AveragePlot:
    """Weights that wander, their average, and what each step counts in it."""

    def __init__(self, weights: Tensor):
        figure, (left, right) = subplots(3.6, 2, room=0.7)
        for axes in (left, right):
            axes.set(xlim=(0, len(weights) - 1))
            axes.set_xlabel("step", labelpad=1)
        left.set(title="one weight of the network", ylim=(float(weights.min()) - 0.1, float(weights.max()) + 0.1))
        right.set(title="share of each step in the average", yscale="log", ylim=(1e-5, 1.5))
        left.plot(weights.numpy(), color=SKY, linewidth=1)
        key(left, {"thin: the weight itself": BLUE, "thick: its average": ORANGE}, "upper right")
        (self.average,) = left.plot([], [], color=ORANGE, linewidth=2.5)
        (self.shares,) = right.plot([], [], color=ORANGE, linewidth=2)
        (self.first,) = right.plot([], [], color=BLACK, marker="o", linestyle="")
        self.dot = right.text(0.04, 0.92, "", transform=right.transAxes)
        self.marks = [axes.axvline(0, ymax=0.8, color=GREY, linewidth=1) for axes in (left, right)]  # below the words
        self.live = LiveFigure(figure, [self.average, self.shares, self.first, self.dot, *self.marks], headline(figure))

    def draw(self, average: Tensor, shares: Tensor, what: str) -> Picture:
        """The average up to a step, and the shares of the steps in it; both (n+1,)."""
        n, first = len(shares) - 1, float(shares[0])
        self.average.set_data(range(n + 1), average.numpy())
        self.shares.set_data(range(1, n + 1), shares[1:].numpy())
        self.first.set_data([0], [first])
        self.dot.set_text("dot: the first weights" + (" (below the frame)" if first < 1e-5 else ""))
        for mark in self.marks:
            mark.set_xdata([n, n])
        left = f"{first:.1%}" if first >= 1e-3 else "less than 0.1%"
        words = f"{what}, step {n}: the random first weights still count {left}"
        return self.live.picture(f"{words}; the average is {float(average[-1]):.3f}", words)


def rate_picture(rates: Mapping[str, Sequence[float]]) -> Picture:
    """Learning rates over the steps of runs, each in shares of its own length and height."""
    figure, (axes,) = subplots(2.6)
    for (name, values), (colour, style) in zip(rates.items(), LINES, strict=False):
        top, x = max(values), np.arange(len(values)) / (len(values) - 1)
        axes.plot(x, np.asarray(values) / top, color=colour, linestyle=style, linewidth=2, label=f"{name}: top {top:g}")
    axes.set(xlabel="share of the run", ylabel="share of the top", ylim=(0, 1.08))
    axes.legend(loc="lower center")
    each = "; ".join(f"{name} starts at {values[0]:.2g}, ends at {values[-1]:.2g}" for name, values in rates.items())
    return picture(figure, f"Learning rate over the run, rising, flat, falling: {each}")


def curve_picture(
    steps: Sequence[int], losses: Sequence[float], what: str, window: int = 0, marks: Mapping[int, str] | None = None
) -> Picture:
    """The loss of a run, what happened at its ``marks``, and the mean over ``window`` points on either side."""
    figure, (axes,) = subplots(3.2, which="both")
    axes.plot(steps, losses, color=BLUE, linewidth=0.7 if window else 1.5, alpha=0.4 if window else 1)
    told = f"{losses[0]:.2f} at step {steps[0]:,} and {losses[-1]:.3f} at step {steps[-1]:,}"
    if window:
        n = 2 * window + 1
        mean = np.convolve(losses, np.full(n, 1 / n), mode="valid")
        axes.plot(steps[window:-window], mean, color=ORANGE, linewidth=2)
        key(axes, {"thin: each point": BLUE, f"thick: mean over {n} of them": ORANGE}, "upper right")
        told = f"its mean over {n} points falls from {mean[0]:.4f} to {mean[-1]:.4f}"
    axes.set(xlabel="optimiser step", ylabel="loss", yscale="log" if max(losses) > 3 * min(losses) else "linear")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    for i, (step, name) in enumerate((marks or {}).items()):
        axes.axvline(step, color=GREY, linewidth=1, linestyle=":")
        axes.text(step, 0.72 - 0.1 * i, f" {name}", color=GREY, transform=axes.get_xaxis_transform())
        told += f"; from step {step:,} on: {name}"
    return picture(figure, f"Loss of {what}: {told}")


def loss_by_time_picture(times: Tensor, losses: Tensor, straight: Tensor) -> Picture:
    """Losses (n, B) at times (n,), mean and the middle 80 % of the images, over that of the best straight line (T,)."""
    figure, (axes,) = subplots(3.5, which="both")
    mean, end = losses.mean(1).numpy(), len(straight)
    band = (losses.quantile(q, dim=1).numpy() for q in (0.1, 0.9))
    axes.fill_between(times.numpy(), *band, color=SKY, alpha=0.5, linewidth=0)
    axes.plot(times.numpy(), mean, color=BLUE, linewidth=2)
    axes.plot(straight.numpy(), color=ORANGE, linestyle="--", linewidth=2)
    axes.axhline(1, color=GREY, linewidth=1)
    axes.set(yscale="log", xlabel="t", ylabel="loss", xlim=(0, end), ylim=(5e-4, 2))
    axes.text(0.55 * end, 1.1, "guessing no noise at all: 1", color=GREY)
    axes.text(0.3 * end, 0.25, "dashed: the best straight line", color=ORANGE)
    axes.text(0.04 * end, 8e-4, "solid: the network (band: 80 % of the images)", color=BLUE)
    worse = [int(t) for t, value in zip(times, mean, strict=True) if value > straight[int(t)]]
    where = f"the network is above it from t = {worse[0]} on" if worse else "the network is below it everywhere"
    alt = f"the network from {mean[0]:.2f} at t = {int(times[0])} to {mean[-1]:.3f} at t = {int(times[-1])}"
    return picture(
        figure, f"Loss by time: {alt}; the best straight line has the mean {straight.mean():.3f}, and {where}"
    )


class WobblePlot:
    """Losses of ``n`` batches from a network that does not change."""

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
        mean, first = float(losses.mean()), ", ".join(f"{loss:.4f}" for loss in losses[:3].tolist())
        self.points.set_data(np.arange(self.n) + 0.5, losses.numpy())
        self.mean.set_ydata([mean] * 2)
        words = f"{what}: standard deviation {float(losses.std()):.3f}, predicted {predicted:.3f}"
        alt = f"Losses of {self.n} batches, {words}; mean {mean:.3f}; the first three {first}"
        return self.live.picture(alt, words)


def courses_picture(courses: Mapping[str, Any], words: Mapping[str, str]) -> Picture:
    """Runs under each other, the healthy one first and drawn into all: losses, samples, and what they say in words."""
    n, (healthy, *_) = len(courses), courses.values()
    figure, steps, height = Figure(figsize=(WIDTH, 1.5 * n + 0.3)), range(1, len(healthy.losses) + 1), 0.6 / n
    for i, (name, course) in enumerate(courses.items()):
        bottom = 0.04 + 0.96 * (1 - (i + 1) / n + 0.16 / n)
        axes = figure.add_axes((0.06, bottom, 0.36, height))
        axes.plot(steps, healthy.losses, color=GREY, linewidth=1)
        axes.plot(steps, course.losses, color=BLUE, linewidth=1.5)
        axes.set(yscale="log", ylim=(0.02, 8), xlim=(1, steps[-1]))
        axes.grid(**GRID)
        axes.tick_params(labelsize=8)
        axes.set_title(name, loc="left", fontsize=10, weight="bold", color=ORANGE if i else BLACK)
        shown = figure.add_axes((0.44, bottom, 0.21, height), xticks=[], yticks=[])
        shown.imshow(np.asarray(grid_image(course.samples, len(course.samples) // 2)))
        figure.text(0.67, bottom + height, words[name], va="top", fontsize=9)
    lines = "blue: loss of every step; grey: that of the healthy run; right: samples"
    figure.text(0.06, 0.004, lines, fontsize=8, color=GREY)
    each = "; ".join(f"{name}: {words[name]}" for name in courses).replace("\n", ", ")
    return LiveFigure(figure, []).picture(f"{n} runs, each with its loss curve and samples. {each}")


class MemoryPlot:
    """Memory of training, part by part, over that of sampling, on an axis that ends at ``most`` bytes."""

    def __init__(self, parts: Sequence[str], most: float):
        figure, (axes,) = subplots(2.5, room=0.7, grid="x")
        figure.subplots_adjust(left=0.09)  # for the names of the bars
        self.unit, self.size = ("GB", 1e9) if most >= 1e9 else ("MB", 1e6)
        self.most = most / self.size
        axes.set(xlim=(0, self.most), ylim=(-0.6, 1.6), yticks=[0, 1])
        axes.set_yticklabels(["sampling", "training"])
        axes.set_xlabel("gigabytes" if self.unit == "GB" else "megabytes", labelpad=1)
        self.bars = [axes.barh(1, 0, color=c, edgecolor=BLACK, linewidth=0.5)[0] for c in PART_COLOURS[: len(parts)]]
        self.sampling = axes.barh(0, 0, color=GREY)[0]
        self.texts = [axes.text(0, y, "", va="center") for y in (0, 1)]
        top = headline(figure)
        for i, (part, colour) in enumerate(zip(parts, PART_COLOURS, strict=False)):
            x = top.get_position()[0] + 0.165 * i
            figure.text(x, 0.77, "■", color=colour)
            figure.text(x + 0.017, 0.77, part, fontsize=9)
        self.live = LiveFigure(figure, [*self.bars, self.sampling, *self.texts], top)

    def draw(self, training: Mapping[str, float], sampling: float, what: str) -> Picture:
        """Bytes of each part in the order of ``parts``, and of sampling."""
        left, width = 0.0, sampling / self.size
        for bar, value in zip(self.bars, training.values(), strict=True):
            bar.set(x=left, width=value / self.size)
            left += value / self.size
        self.sampling.set_width(width)
        sizes = [f"{value:.{2 if self.unit == 'GB' else 0}f} {self.unit}" for value in (width, left)]
        for text, value, size in zip(self.texts, (width, left), sizes, strict=True):
            text.set(x=value, text=f" {size}", ha="left" if value < 0.85 * self.most else "right")
        words = f"{what}: training {sizes[1]}, sampling {sizes[0]}"
        each = ", ".join(f"{part} {value / self.size:.3g}" for part, value in training.items())
        return self.live.picture(f"Memory, {words}; of training: {each} {self.unit}", words)

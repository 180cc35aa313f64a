"""Evaluation: what a byte costs, where the bits of the bound lie, and how far sets of images are apart."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from PIL import Image
from torch import Tensor

from ddpm_lesson.lesson.kit.colours import BLACK, BLUE, GREEN, GREY, ORANGE, SKY
from ddpm_lesson.lesson.kit.figure import (
    GRID,
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
from ddpm_lesson.lesson.kit.images import contact_sheet, thumbnails
from ddpm_lesson.pictures import grid_image

# The decoder

DECODER_LIMITS = (1e-6, 100)  # the density times the width of a bin can be above 1; and room for the key


class DecoderPlot:
    """The mass of a Gaussian in the bins of the 256 bytes, and what one byte costs."""

    def __init__(self):
        figure, (axes,) = subplots(3.3, room=0.55)
        axes.set(xlim=(-2.5, 257.5), yscale="log", ylim=DECODER_LIMITS, ylabel="probability of the byte")
        axes.set_xlabel("byte (0 is -1, 255 is +1)", labelpad=1)
        (self.masses,) = axes.plot([], [], color=BLUE, linewidth=1.5, drawstyle="steps-mid")
        (self.density,) = axes.plot([], [], color=ORANGE, linewidth=1.5, linestyle="--")
        (self.mark,) = axes.plot([], [], color=BLACK, marker="o", linestyle="", clip_on=False)
        self.verdict = headline(figure)
        axes.axhline(1, color=GREY, linewidth=1)
        key(axes, {"solid: mass of the bin": BLUE, "dashed: density times 2/255": ORANGE})
        self.live = LiveFigure(figure, [self.masses, self.density, self.mark, self.verdict])

    def draw(self, mass: Tensor, density: Tensor, byte: int, what: str) -> Picture:
        """The picture for one Gaussian.

        Args:
            mass: (256,) probability of every byte.
            density: (256,) density at every byte times the width of a bin.
            byte: the one that is to be coded.
            what: mean and standard deviation in words.
        """
        bytes_ = np.arange(256)
        floor = 1e-12  # a logarithmic axis has no 0
        self.masses.set_data(bytes_, mass.clamp(min=floor).numpy())
        self.density.set_data(bytes_, density.clamp(min=floor).numpy())
        p = float(mass[byte])
        self.mark.set_data([byte], [max(p, DECODER_LIMITS[0])])
        self.mark.set_marker("o" if p >= DECODER_LIMITS[0] else "v")  # below the axis
        bits = f"{abs(np.log2(p)):.2f} bits" if p > 0 else "more than 1000 bits"
        shown = f"byte {byte} has probability {p:.2g} and costs {bits}"
        self.verdict.set_text(f"{shown}; all 256 add up to {float(mass.sum()):.4f}")
        return self.live.picture(f"Probability of every byte under a Gaussian, {what}: {shown}")


# The ledger of bits


class BitsLedger:
    """The terms of the bound over t, and how they add up to the whole.

    Args:
        scale: of the left axis, ``"log"`` or ``"linear"``.
    """

    def __init__(self, scale: str):
        self.scale = scale
        figure, (left, right) = subplots(3.4, 2, room=0.7)
        for axes in (left, right):
            axes.set(xscale="log", xlim=(0.9, 1300))
            axes.set_xticks([1, 11, 101, 1001], ["0", "10", "100", "1000"])
            axes.minorticks_off()
            axes.set_xlabel("t (logarithmic)", labelpad=1)
        left.set(yscale=scale, ylim=(1e-7, 10) if scale == "log" else (-0.05, 2.6), title="term of step t in bits/dim")
        right.set(ylim=(-0.2, 8.2), title="bits/dim from the end down to t")
        right.axhline(8, color=GREY, linewidth=1)
        right.text(0.97, 0.93, "8: the raw byte", color=GREY, ha="right", va="top", transform=right.transAxes)
        (self.terms,) = left.plot([], [], color=BLUE, linewidth=1.5)
        (self.sums,) = right.plot([], [], color=BLUE, linewidth=2)
        self.marks = [axes.axvline(1, color=GREY, linewidth=1) for axes in (left, right)]
        (self.first,) = left.plot([], [], color=ORANGE, marker="o", linestyle="")
        self.name = left.text(1.4, 0, "", color=ORANGE, va="center")
        self.verdict = headline(figure)
        self.live = LiveFigure(figure, [self.terms, self.sums, *self.marks, self.first, self.name, self.verdict])

    def draw(self, L_t: Tensor, L_T: float, t: int, model: str) -> Picture:
        """The picture for one model.

        Args:
            L_t: (T,) terms in bits per dimension, index 0 is L_0.
            L_T: the term of the prior.
            t: where to read.
            model: its name.
        """
        times = np.unique(np.geomspace(1, len(L_t), 250).round().astype(int))  # t + 1
        sums = L_T + L_t.sum() - L_t.cumsum(0) + L_t
        self.terms.set_data(times, L_t.numpy()[times - 1])
        self.sums.set_data(times, sums.numpy()[times - 1])
        for mark in self.marks:
            mark.set_xdata([t + 1, t + 1])
        self.first.set_data([1], [float(L_t[0])])
        self.name.set_position((1.4, float(L_t[0])))
        self.name.set_text(f"L_0 = {float(L_t[0]):.2f}")
        rest = float(sums[t])
        share = f"steps from the end down to t = {t} cost {rest:.2f} of {float(sums[0]):.2f} bits/dim"
        self.verdict.set_text(f"{model}: {share}")
        what = f"model {model}, {self.scale} scale"
        alt = f"Terms of the bound over t, {what}: at t = {t} the term is {float(L_t[t]):.2g} bits/dim; {share}"
        return self.live.picture(alt)


SIDE = 120  # pixels of an image in a strip
WIDE = 144  # the same where eight of them fill the width


class RateDistortionPlot:
    """Rate against distortion, and the images that a receiver sees at one rate.

    Args:
        rate, rmse: (T,) bits per dimension received when x_t is known, and the error of the guess from there, 0 .. 255.
        x0: (B, C, H, W), the images in [-1, 1].
    """

    def __init__(self, rate: Tensor, rmse: Tensor, x0: Tensor):
        self.rate, self.rmse, self.x0 = rate, rmse, x0
        figure, (axes,) = subplots(2.9, room=0.5)
        axes.set(xlim=(-0.05, float(rate.max()) * 1.04), ylim=(0, float(rmse.max()) * 1.08), ylabel="RMSE of 0 .. 255")
        axes.set_xlabel("rate: bits/dim received so far", labelpad=1)
        axes.plot(rate.numpy(), rmse.numpy(), color=BLUE, linewidth=2)
        (self.mark,) = axes.plot([], [], color=ORANGE, marker="o", markersize=9, linestyle="")
        self.verdict = headline(figure)
        self.live = LiveFigure(figure, [self.mark, self.verdict])

    def draw(self, t: int, xt: Tensor, x0_hat: Tensor, what: str) -> Picture:
        """The picture at time t; ``xt`` and ``x0_hat`` are (B, C, H, W), ``what`` tells which noise it is."""
        rate, rmse = float(self.rate[t]), float(self.rmse[t])
        self.mark.set_data([rate], [rmse])
        shown = f"t = {t}: after {rate:.2f} bits/dim the error is {rmse:.1f} of 255"
        self.verdict.set_text(shown)
        rows = {"x_t": xt, "x0_hat": x0_hat, "x_0": self.x0}
        sheet = stacked(self.live.image(), contact_sheet(thumbnails(rows, WIDE), gap=10))
        alt = f"Rate and distortion of progressive coding, and what the receiver sees, {what}, at {shown}"
        return picture(sheet, alt, SCALE)


# Distances


class FrechetPlot:
    """The distance of degraded images from real ones over their number, beside real ones, with a look at them.

    Args:
        sizes: numbers of images along the axis.
    """

    def __init__(self, sizes: Sequence[int], limits: tuple[float, float]):
        self.sizes = list(sizes)
        figure = Figure(figsize=(WIDTH, 3.5))
        images = figure.add_axes((0.012, 0.03, 0.34, 0.85))
        images.set_axis_off()
        axes = figure.add_axes((0.44, 0.15, 0.545, 0.68))
        axes.set(xscale="log", yscale="log", xlim=(self.sizes[0] * 0.9, self.sizes[-1] * 1.1), ylim=limits)
        axes.set_xticks(self.sizes, [str(n) for n in self.sizes])
        axes.minorticks_off()
        axes.set_xlabel("N, number of images (logarithmic)", labelpad=1)
        axes.set_ylabel("Frechet distance", labelpad=1)
        axes.grid(**GRID)
        self.images = images.imshow(np.zeros((SIDE_OF_GRID, SIDE_OF_GRID, 3), np.uint8))
        (self.bad,) = axes.plot([], [], color=ORANGE, linewidth=2, marker="o")
        (self.floor,) = axes.plot([], [], color=BLACK, linewidth=2, linestyle="--", marker="o", markersize=4)
        (self.expected,) = axes.plot([], [], color=GREY, linewidth=1, linestyle=":")
        self.mark = axes.axvline(1, color=GREY, linewidth=1)
        lines = {"solid: these images": ORANGE, "dashed: real images": BLACK, "dotted: floor by (12.6)": GREY}
        key(axes, lines, "lower left")
        self.verdict = headline(figure, 0.015)
        moving = [self.images, self.bad, self.floor, self.expected, self.mark, self.verdict]
        self.live = LiveFigure(figure, moving)

    def draw(self, curves: "FrechetCurves", images: Tensor, n: int, what: str) -> Picture:
        """The picture for one degradation.

        Args:
            curves: distances, one a size.
            images: (36, 1, H, W) some of the images.
            n: the size to read, one of ``sizes``.
            what: degradation and features in words.
        """
        grid = grid_image(images, 6, SIDE_OF_GRID).resize((SIDE_OF_GRID, SIDE_OF_GRID), Image.Resampling.NEAREST)
        self.images.set_data(np.asarray(grid))
        for line, values in zip((self.bad, self.floor, self.expected), curves, strict=True):
            line.set_data(self.sizes, values)
        self.mark.set_xdata([n, n])
        i = self.sizes.index(n)
        value, floor = curves.degraded[i], curves.floor[i]
        shown = f"N = {n}: {value:.3g}, real images {floor:.3g}: {value / floor:.1f} times the floor"
        self.verdict.set_text(f"{what}, {shown}")
        return self.live.picture(f"Frechet distance over the number of images, {what}, with 36 of the images. {shown}")


SIDE_OF_GRID = 480  # pixels of the grid of images


class FrechetCurves(NamedTuple):
    """Distances from the same real images over N."""

    degraded: Sequence[float]
    floor: Sequence[float]  # of other real images
    expected: Sequence[float]  # of other real images, by the formula


def couplings_picture(x: Tensor, pairs: dict[str, tuple[Tensor, float]]) -> Picture:
    """Points of one distribution tied to points of another in several ways.

    Args:
        x: (N, 2), drawn from the first.
        pairs: name -> the partner of every point, (N, 2), and the mean squared distance of all pairs.
    """
    figure, panes = subplots(4.2, len(pairs), sharex=True, sharey=True)
    for axes, (name, (y, cost)) in zip(panes, pairs.items(), strict=True):
        draw_pairs(axes, x.numpy(), y.numpy())
        axes.set_title(f"{name}\nmean squared distance {cost:.2f}", fontsize=10)
    key(panes[0], {"circles: the first": BLUE, "squares: the second": ORANGE})
    costs = "; ".join(f"{name}: {cost:.2f}" for name, (_, cost) in pairs.items())
    return picture(figure, f"Points of one Gaussian tied to points of another; mean squared distance, {costs}")


def draw_pairs(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Draw points and the lines between partners."""
    for a, b in zip(x, y, strict=True):
        axes.plot([a[0], b[0]], [a[1], b[1]], color=GREY, linewidth=0.8)
    axes.plot(*x.T, "o", color=BLUE, markersize=4)
    axes.plot(*y.T, "s", color=ORANGE, markersize=4)
    axes.set_aspect("equal")


def sets_picture(sets: dict[str, Tensor], n: int = 10) -> Picture:
    """The first images of several sets, a row each; every set is (N, C, H, W), in [-1, 1]."""
    sheet = contact_sheet(thumbnails({name: images[:n] for name, images in sets.items()}, 84), gap=10)
    return picture(sheet, f"{n} images of each of these sets, a row each: {', '.join(sets)}", SCALE)


def balance_picture(counts: dict[str, Sequence[int]]) -> Picture:
    """How often each class comes up in sets of images, with the band in which chance leaves 95 % of the bars.

    Args:
        counts: name of the set -> images of every class.
    """
    figure, panes = subplots(2.5, len(counts), grid="y", sharey=True)
    for axes, (name, values) in zip(panes, counts.items(), strict=True):
        total, share = sum(values), 1 / len(values)
        width = 1.96 * (share * (1 - share) / total) ** 0.5
        axes.bar(range(len(values)), [100 * value / total for value in values], color=SKY)
        axes.axhspan(100 * (share - width), 100 * (share + width), color=BLACK, alpha=0.15)
        axes.axhline(100 * share, color=BLACK, linewidth=1)
        axes.set_xticks(range(len(values)))
        axes.set_title(f"{name}, N = {total:,}", fontsize=10)
    panes[0].set_ylabel("% of the images")
    words = "; ".join(f"{name}: {' '.join(map(str, values))}" for name, values in counts.items())
    return picture(figure, f"Images of each class, with the band of chance around equal shares. {words}")


DECADES = (100, 300, 1000, 3000, 10_000)


class DistanceCurve(NamedTuple):
    """Frechet distances over the number of images."""

    name: str
    n: Sequence[int]
    distance: Sequence[float]


def floors_picture(panes: dict[str, Sequence[DistanceCurve]], features: str) -> Picture:
    """How distances move with the number of images, on logarithmic axes.

    Args:
        panes: title -> the curves of a pane; the first is dashed, the floor.
        features: what they are measured with, in words.
    """
    figure, columns = subplots(3, len(panes))
    words = []
    for axes, (title, curves) in zip(columns, panes.items(), strict=True):
        colours, styles = (BLACK, *(ORANGE,) * len(curves)), ("--", *("-",) * len(curves))
        for curve, colour, style in zip(curves, colours, styles, strict=False):
            axes.plot(curve.n, curve.distance, color=colour, linestyle=style, marker="o", label=curve.name)
            numbers = ", ".join(f"{d:.3g} at {n:,}" for n, d in zip(curve.n, curve.distance, strict=True))
            words.append(f"{title}, {curve.name}: {numbers}")
        axes.set(xscale="log", yscale="log", xlabel="N, number of images", ylabel="Frechet distance")
        axes.set_xticks(DECADES, [f"{n:,}" for n in DECADES])
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.set_xlim(100, 15_000)
        axes.set_title(f"{title}, {features}", fontsize=10)
        axes.legend(frameon=False)
    return picture(figure, f"Frechet distance over the number of images, {features}. {'; '.join(words)}")


def neighbours_picture(samples: Tensor, nearest: Tensor, distance: Tensor, unseen: Tensor) -> Picture:
    """Samples over their nearest training images, and where their distances lie among those of unseen real images.

    Args:
        samples, nearest: (B, C, H, W) in [-1, 1].
        distance: (N,) of all samples to the training images.
        unseen: (M,) the same for real images that the model has not seen.
    """
    figure, (axes,) = subplots(2.3, grid="")
    bins = np.linspace(0, float(max(distance.max(), unseen.max())), 40)
    for values, colour, style in ((unseen, BLACK, "--"), (distance, ORANGE, "-")):
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values.numpy(), bins, weights=weights, histtype="step", color=colour, linewidth=2, linestyle=style)
    axes.set(xlabel="distance to the nearest training image (0 would be a copy)", ylabel="share of images")
    key(axes, {"solid: samples": ORANGE, "dashed: unseen real images": BLACK})
    sheet = contact_sheet(thumbnails({"sample": samples, "nearest": nearest}, SIDE), gap=12)
    histogram = LiveFigure(figure, []).image()
    alt = (
        f"{len(samples)} samples over their nearest training images; median distance of all samples "
        f"{float(distance.median()):.2f}, of unseen real images {float(unseen.median()):.2f}"
    )
    return picture(stacked(histogram, sheet), alt, SCALE)


def samplers_picture(rows: Sequence[tuple[str, float, float, float]], real_sure: float, what: str) -> Picture:
    """Samplers of one model side by side: Frechet distance with its floor, and the share of confident answers.

    Args:
        rows: name, distance, floor, share above 0.9.
        real_sure: that share for real images.
        what: which model, N and features, in words; the title.
    """
    names, distances, floors, sure = zip(*rows, strict=True)
    y = np.arange(len(rows))
    figure, (left, right) = subplots(0.36 * len(rows) + 1.4, 2, grid="x", sharey=True)
    figure.suptitle(what, fontsize=11, weight="bold")
    left.barh(y, distances, color=SKY)
    left.plot(floors, y, "|", color=BLACK, markersize=18, markeredgewidth=2)
    left.set_yticks(y, names)
    left.invert_yaxis()
    left.set_title("Frechet distance (black: its floor)", fontsize=10)
    right.barh(y, [100 * s for s in sure], color=GREEN)
    right.axvline(100 * real_sure, color=BLACK, linewidth=2)
    right.set(xlim=(0, 103))
    right.set_title("confident above 0.9, % (black: real images)", fontsize=10)
    each = "; ".join(f"{name}: {d:.3g}, {s:.0%}" for name, d, _, s in rows)
    return picture(figure, f"Frechet distance and share of confident answers, {what}. {each}; real: {real_sure:.0%}")

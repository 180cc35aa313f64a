"""The residual block: its drawing, its normalisation, Swish, gradients through many blocks, and feature maps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.colours import BLACK, GREY, LINES
from ddpm_lesson.lesson.kit.diagram import Diagram
from ddpm_lesson.lesson.kit.figure import DPI, GRID, SCALE, WIDTH, LiveFigure, Picture, headline, picture, subplots
from ddpm_lesson.unet import ResidualBlock


def residual_picture(block: ResidualBlock) -> Picture:
    """The parts of a residual block in their order, with the sizes of the live module."""
    C, C_out = block.conv1.in_channels, block.conv1.out_channels
    identity = isinstance(block.shortcut, nn.Identity)
    shortcut = "identity" if identity else f"1×1 convolution, {C} → {C_out}"
    silent = ", starts at 0" if not block.conv2.weight.any() else ""
    d = Diagram(860, 345)
    t_emb = d.box("time", 215, 22, 110, 46, "time", f"{block.time_emb.in_features} numbers")
    time_act = d.box("act", 365, 22, 90, 46, "Swish")
    time_emb = d.box("linear", 495, 22, 150, 46, "Linear", f"{block.time_emb.in_features} → {C_out}: the shift")
    x = d.box("data", 20, 105, 90, 50, "x", f"{C} channels")
    norm1 = d.box("norm", 145, 105, 130, 50, "GroupNorm", groups_of(block.norm1))
    act1 = d.box("act", 310, 105, 90, 50, "Swish")
    conv1 = d.box("conv", 435, 105, 90, 50, "Conv 3×3", f"{C} → {C_out}")
    plus1 = d.plus(570, 130)
    norm2 = d.box("norm", 145, 207, 130, 50, "GroupNorm", groups_of(block.norm2))
    act2 = d.box("act", 310, 207, 90, 50, "Swish")
    drop = d.box("block", 435, 207, 90, 50, "Dropout", f"p = {block.dropout.p:g}")
    conv2 = d.box("conv", 560, 207, 140, 50, "Conv 3×3", f"{C_out} → {C_out}{silent}")
    plus2 = d.plus(735, 232)
    out = d.box("data", 762, 207, 88, 50, "out", f"{C_out} channels")
    way = d.box("block" if identity else "conv", 300, 286, 215, 42, shortcut, "the shortcut")
    for one, other in ((x, norm1), (norm1, act1), (act1, conv1), (conv1, plus1)):
        d.arrow(one.right, other.left)
    for one, other in ((norm2, act2), (act2, drop), (drop, conv2), (conv2, plus2), (plus2, out)):
        d.arrow(one.right, other.left)
    d.arrow(plus1.right, (620, 130), (620, 181), (122, 181), (122, 232), norm2.left)
    d.arrow(t_emb.right, time_act.left, kind="time")
    d.arrow(time_act.right, time_emb.left, kind="time")
    d.arrow(time_emb.bottom, plus1.top, kind="time")
    d.arrow(x.bottom, (65, 307), way.left, kind="skip")
    d.arrow(way.right, (735, 307), plus2.bottom, kind="skip")
    alt = (
        f"A residual block: x with {C} channels goes through GroupNorm ({groups_of(block.norm1)}), Swish and a 3x3 "
        f"convolution to {C_out} channels; the time, {block.time_emb.in_features} numbers, goes through Swish and a "
        f"linear layer and is added; then GroupNorm ({groups_of(block.norm2)}), Swish, dropout {block.dropout.p:g} and "
        f"a 3x3 convolution{silent}; the shortcut ({shortcut}) leads from x to the end, where both are added"
    )
    return d.picture(alt)


def groups_of(norm: nn.GroupNorm) -> str:
    """Number and size of the groups, in words."""
    return f"{norm.num_groups} groups of {norm.num_channels // norm.num_groups}"


class GroupNormPlot:
    """A feature map before and behind a group normalisation, channel by channel, against the undisturbed one.

    Args:
        n_channels: of the feature map.
        n_values: of each channel; at most 64 of them are drawn.
    """

    def __init__(self, n_channels: int, n_values: int):
        self.n_channels = n_channels
        self.drawn = np.linspace(0, n_values - 1, min(n_values, 64)).round().astype(int)  # evenly over the pixels
        jitter = np.linspace(-0.32, 0.32, len(self.drawn))
        self.x = np.arange(n_channels)[:, None] + jitter[None, :]  # (C, drawn)
        figure, (left, right) = subplots(3.6, 2, room=0.7, grid="y")
        left.set(title="what goes in  (black: mean of a group)", xlabel="channel")
        left.set_yscale("symlog", linthresh=4, linscale=1.5)  # even up to 4; times 5 and +20 still lie inside
        left.set(ylim=(-60, 60), yticks=(-40, -10, -4, -2, 0, 2, 4, 10, 40))
        left.yaxis.set_major_formatter("{x:g}")
        left.minorticks_off()
        right.set(ylim=(-4.4, 4.4), title="what comes out  (grey: undisturbed)", xlabel="channel")
        for axes in (left, right):
            axes.set(xlim=(-0.6, n_channels - 0.4), xticks=range(n_channels))
        (self.before,) = right.plot([], [], ".", color="#bbbbbb", markersize=7)
        self.points = [[a.plot([], [], ".", markersize=3)[0] for _ in range(n_channels)] for a in (left, right)]
        self.bars = [a.plot([], [], color=GREY, linewidth=1)[0] for a in (left, right)]
        (self.means,) = left.plot([], [], color=BLACK, linewidth=2)
        moving = [self.before, *self.points[0], *self.points[1], *self.bars, self.means]
        self.live = LiveFigure(figure, moving, headline(figure))

    def draw(self, x: Tensor, y: Tensor, undisturbed: Tensor, n_groups: int, what: str) -> Picture:
        """One setting.

        Args:
            x, y: what goes in and comes out, (C, n_values).
            undisturbed: what would come out without disturbance, (C, n_values).
            n_groups: groups of neighbouring channels.
            what: was done to the input, in words.
        """
        size = self.n_channels // n_groups
        for lines, values in zip(self.points, (x, y), strict=True):
            for c, line in enumerate(lines):
                line.set_data(self.x[c], values[c, self.drawn].numpy())
                line.set_color(LINES[c // size][0])
        self.before.set_data(self.x.flatten(), undisturbed[:, self.drawn].numpy().flatten())
        starts = np.arange(0, self.n_channels, size) - 0.5
        for bars in self.bars:
            bars.set_data(*segments([(s, s, -60, 60) for s in starts[1:]]))
        means = x.reshape(n_groups, -1).mean(1).tolist()
        self.means.set_data(*segments([(s + 0.1, s + size - 0.1, m, m) for s, m in zip(starts, means, strict=True)]))
        change = float((y - undisturbed).abs().max())
        verdict = f"{n_groups} groups of {size}:  the largest change of what comes out is {change:.2f}"
        each = ", ".join(f"{m:.2f}" for m in means)
        return self.live.picture(f"A feature map, {what}. Means of its groups {each}. {verdict}", verdict)


def segments(pieces: Sequence[tuple[float, float, float, float]]) -> tuple[list[float], list[float]]:
    """Separate pieces (x1, x2, y1, y2) as one line with gaps."""
    xs = [v for x1, x2, _, _ in pieces for v in (x1, x2, np.nan)]
    return xs, [v for _, _, y1, y2 in pieces for v in (y1, y2, np.nan)]


def swish_picture(x: Tensor, curves: Mapping[str, tuple[Tensor, Tensor]], lowest: tuple[float, float]) -> Picture:
    """Activations and their slopes beside each other.

    Args:
        x: (N,) values along the axis.
        curves: name -> values and slopes, each (N,).
        lowest: where the first of them is smallest, and how small.
    """
    figure, (left, right) = subplots(3.3, 2)
    for (name, (values, slopes)), (colour, style) in zip(curves.items(), LINES, strict=False):
        left.plot(x, values, color=colour, linestyle=style, linewidth=2, label=name)
        right.plot(x, slopes, color=colour, linestyle=style, linewidth=2, label=name)
    where, value = lowest
    left.plot(where, value, "o", color=BLACK)
    left.annotate(f"({where:.3f}, {value:.3f})", lowest, (where, value - 0.75), ha="center")
    left.set(title="value", xlabel="x", ylim=(-1.4, 4))
    right.set(title="slope", xlabel="x")
    for axes in (left, right):
        axes.legend(loc="upper left")
    names = " and ".join(curves)
    return picture(figure, f"{names} over x, and their slopes; the lowest point lies at {where:.3f} and is {value:.3f}")


SMALLEST = 0.1  # size of a gradient that is drawn; a curve that dies would flatten all others


def flow_picture(flows: Mapping[str, tuple[Tensor, Tensor]]) -> Picture:
    """Gradients in front of every block: how large they are, and how well they stand when the input moves.

    The legend tells both numbers in front of the first block.

    Args:
        flows: name -> size and cosine, each (n_blocks + 1,), as ``gradient_flow`` returns them.
    """
    figure, (left, right) = subplots(4.3, 2)
    for (name, (size, cosine)), (colour, style) in zip(flows.items(), LINES, strict=False):
        label = f"{name}: {float(size[0]):.2g}, {float(cosine[0]):.2f}"
        left.plot(size, color=colour, linestyle=style, linewidth=2, label=label)
        right.plot(cosine, color=colour, linestyle=style, linewidth=2)
    n_blocks = len(size) - 1
    together = sum(bool((cosine > 0.95).all()) for _, cosine in flows.values())
    left.set(yscale="log", ylim=(SMALLEST, None), xlabel="in front of block number")
    below = sum(bool(size.min() < SMALLEST) for size, _ in flows.values())
    left.set_title(f"size of the gradient\n{below} of the curves {'leaves' if below == 1 else 'leave'} the frame below")
    right.set(ylim=(-0.05, 1.05), xlabel="in front of block number")
    right.set_title(f"cosine, input moved by a tenth\n{together} curves lie together near 1")
    figure.legend(loc="outside upper center", ncols=2, title="size and cosine in front of the first block:")
    each = "; ".join(f"{name} {float(s[0]):.2g} and {float(c[0]):.2f}" for name, (s, c) in flows.items())
    return picture(figure, f"Size of the gradient below {n_blocks} blocks and its cosine when the input moves: {each}")


class BlockMaps(NamedTuple):
    """Some channels at four places of a residual block, for one image."""

    before: Tensor  # (k, H, W) behind the first convolution
    after: Tensor  # (k, H, W) with the time's shift
    seen: Tensor  # (k, H, W) behind normalisation and Swish: what the second convolution gets
    answer: Tensor  # (k, H, W) of the block


PLACES = ("conv1", "+ shift", "GroupNorm,\nSwish", "the block's\nanswer")
CELL = 116, 112  # width and height of a map in pixels
GAP = 6  # pixels between maps


class FeatureMapsPlot:
    """Channels of a residual block before and after the shift, beside x_t and the shift over t.

    Args:
        n_maps: channels shown.
        n_steps: T.
        largest: shift that the axis must hold.
    """

    def __init__(self, n_maps: int, n_steps: int, largest: float):
        figure = Figure(figsize=(WIDTH, 3.75))
        self.corner = 1312 - n_maps * (CELL[0] + GAP), 62  # of the maps, in pixels
        width, height = figure.get_size_inches() * DPI
        for j, place in enumerate(PLACES):
            y = self.corner[1] + j * (CELL[1] + GAP) + CELL[1] / 2
            figure.text((self.corner[0] - 14) / width, 1 - y / height, place, ha="right", va="center", fontsize=10)
        centres = [self.corner[0] + i * (CELL[0] + GAP) + CELL[0] / 2 for i in range(n_maps)]
        self.titles = [
            figure.text(x / width, 1 - 48 / height, "", ha="center", fontsize=8, color=c, linespacing=1.3)
            for x, (c, _) in zip(centres, LINES, strict=False)
        ]
        words = "channel\nshift → what survives"
        figure.text((self.corner[0] - 14) / width, 1 - 48 / height, words, ha="right", fontsize=8, linespacing=1.3)
        axes = shift_axes(figure, n_steps, largest)
        self.curves = [axes.plot([], [], color=c, linestyle=s)[0] for c, s in LINES[:n_maps]]
        self.mark = axes.axvline(0, color=GREY, linewidth=1)
        self.heading = figure.text(0.06, 1 - 42 / height, "", fontsize=11, weight="bold")
        self.live = LiveFigure(figure, [*self.titles, *self.curves, self.mark, self.heading])

    def draw(self, xt: Tensor, maps: BlockMaps, limits: Sequence[float], shift: "ShiftCurves", where: str) -> Picture:
        """One block at one time.

        Args:
            xt: (H, W), what the network sees.
            maps: of the block.
            limits: for each place, the value at which the colours end.
            shift: of the channels shown, over all times.
            where: block and time, in words.
        """
        here = list(zip(shift.channels, shift.full[shift.t].tolist(), shift.surviving[shift.t].tolist(), strict=True))
        for title, curve, (c, s, left), line in zip(self.titles, self.curves, here, shift.surviving.T, strict=True):
            title.set_text(f"{c}\n{s:.1f} → {left:.1f}")
            curve.set_data(np.arange(len(line)), line.numpy())
        self.mark.set_xdata([shift.t, shift.t])
        self.heading.set_text(f"x_t at t = {shift.t}")
        image = self.live.image()
        image.paste(coloured(xt, 1.0, "gray", (240, 240)), (79, 62))
        for j, (values, limit) in enumerate(zip(maps, limits, strict=True)):
            for i, value in enumerate(values):
                place = self.corner[0] + i * (CELL[0] + GAP), self.corner[1] + j * (CELL[1] + GAP)
                image.paste(coloured(value, limit, "PuOr", CELL), place)
        numbers = ", ".join(f"{c}: {s:+.2f} ({left:+.2f} survives)" for c, s, left in here)
        means = ", ".join(f"{float(value.mean()):.2f}" for value in maps.seen)
        alt = f"{where}: shift of channels {numbers}; means of what conv2 gets {means}"
        return picture(image.quantize(256, method=Image.Quantize.FASTOCTREE), alt, SCALE)


def shift_axes(figure: Figure, n_steps: int, largest: float) -> Axes:
    """Axes for the shift over t, in the lower left corner; logarithmic beyond 2 on both sides."""
    axes = figure.add_axes((0.06, 0.13, 0.26, 0.27))
    axes.set(xlim=(0, n_steps), yscale="symlog", ylim=(-1.2 * largest, 1.2 * largest))
    axes.set_yticks([v for v in (-10, -2, 0, 2, 10) if abs(v) <= 1.2 * largest])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_title("shift that survives", fontsize=10)
    axes.set_xlabel("t  (colours: the channel numbers)", fontsize=9, labelpad=1)
    axes.grid(**GRID)
    return axes


def coloured(values: Tensor, limit: float, colours: str, size: tuple[int, int]) -> Image.Image:
    """(H, W) as a picture of ``size`` pixels, colours from ``-limit`` to ``limit``."""
    rgb = colormaps[colours]((values.numpy() / limit + 1) / 2, bytes=True)[..., :3]
    return Image.fromarray(rgb).resize(size, Image.Resampling.NEAREST)


class ShiftCurves(NamedTuple):
    """The time's shift of some channels at all times, and where we are."""

    channels: list[int]  # their numbers
    full: Tensor  # (T, k)
    surviving: Tensor  # (T, k), behind the normalisation's mean
    t: int

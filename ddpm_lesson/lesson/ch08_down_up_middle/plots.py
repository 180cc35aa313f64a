"""Changing the resolution: the blocks, who sees whom, windows that grow, checkerboards, and guesses without skips."""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import ImageOps
from torch import Tensor, nn

from ddpm_lesson.lesson.ch08_down_up_middle.upsampling import spectrum, unevenness
from ddpm_lesson.lesson.ch08_down_up_middle.windows import extent
from ddpm_lesson.lesson.kit.colours import BLACK, BLUE, GREY, ORANGE
from ddpm_lesson.lesson.kit.diagram import Box, Diagram
from ddpm_lesson.lesson.kit.figure import GRID, WIDTH, LiveFigure, Picture, headline, key, picture
from ddpm_lesson.lesson.kit.images import contact_sheet, thumbnail, thumbnails, titled
from ddpm_lesson.lesson.kit.influence import influence
from ddpm_lesson.lesson.kit.xray import bridges, parts
from ddpm_lesson.unet import AttentionBlock, Downsample, ResidualBlock, UNet, Upsample

# The blocks

ROW = 128  # height of a block's row, in CSS pixels


def blocks_picture(unet: UNet) -> Picture:
    """The three kinds of block at the lowest level of a network, with its channels, and where the time comes in."""
    source, up = bridges(unet)[0]
    down = next(part for part in reversed(parts(unet)) if part.way == "down" and hasattr(part.module, "res"))
    C, across, below = down.channels[0], source.channels[1], up.channels[0] - source.channels[1]
    middle = unet.middle
    d = Diagram(860, 3 * ROW + 12)
    rows = (
        (f"DownBlock ({down.name})", [("x", C)], (down.module.res, down.module.attn)),
        ("MiddleBlock", [("x", middle.res1.conv1.in_channels)], (middle.res1, middle.attn, middle.res2)),
        (f"UpBlock ({up.name})", [("x, from below", below), ("skip", across)], (up.module.res, up.module.attn)),
    )
    words = [block_row(d, i, *row) for i, row in enumerate(rows)]
    return d.picture("Three blocks. " + ". ".join(words))


def block_row(d: Diagram, row: int, title: str, maps: Sequence[tuple[str, int]], modules: Sequence[nn.Module]) -> str:
    """Draw one block: the feature maps that come in, its modules, and what goes out; says the same in words."""
    top = 10 + row * ROW
    middle = top + 72
    d.frame(12, top, 836, ROW - 10, title)
    boxes = [d.box("data", 26, middle - 18 - 22 * (len(maps) - 1) + 44 * i, 128, 36, name, "")
             for i, (name, _) in enumerate(maps)]  # fmt: skip
    for box, (_, channels) in zip(boxes, maps, strict=True):
        d.text(box.right[0] + 30, box.right[1] - 9, f"{channels} ch.", 12, GREY)
    end = boxes[0]
    if len(maps) > 1:
        end = d.symbol(258, middle, "‖", 13)
        d.arrow(boxes[0].right, (258, boxes[0].right[1]), end.top)
        d.arrow(boxes[1].right, (258, boxes[1].right[1]), end.bottom, kind="skip")
        d.text(274, middle + 36, "torch.cat: the channels add up", 12, GREY, "lm")
    said = [" and ".join(f"{name} with {channels} channels" for name, channels in maps)]
    x = 310
    for module in modules:
        box, text = module_box(d, x, middle, module)
        d.arrow(end.right, box.left)
        said.append(text)
        end, x = box, x + 158
    out = d.box("data", 778, middle - 18, 60, 36, "out")
    C_out = modules[0].conv1.out_channels
    d.arrow(end.right, out.left)
    d.text(out.centre[0], middle + 29, f"{C_out} ch.", 12, GREY)
    return f"{title}: {', then '.join(said)}; {C_out} channels go out"


def module_box(d: Diagram, x: float, middle: float, module: nn.Module) -> tuple[Box, str]:
    """A box for a residual block, attention or nothing, centred in height, and its name in words."""
    if isinstance(module, ResidualBlock):
        channels = f"{module.conv1.in_channels} → {module.conv1.out_channels}"
        box = d.box("block", x, middle - 25, 136, 50, "ResidualBlock", channels)
        d.text(box.top[0] + 8, middle - 46, "t_emb", 12, ORANGE, "lm")
        d.arrow((box.top[0], middle - 54), box.top, kind="time")
        return box, f"a residual block {channels} that is told the time"
    if isinstance(module, AttentionBlock):
        heads = f"{module.n_heads} head{'s' * (module.n_heads > 1)}"
        return d.box("attention", x, middle - 25, 136, 50, "AttentionBlock", heads), "attention"
    return d.box("data", x, middle - 25, 136, 50, "nothing", "is_attn is False"), "no attention"


# Who sees whom

CELL = 34  # CSS pixels of a fine pixel


def resampling_picture(modules: Mapping[str, Downsample | Upsample]) -> Picture:
    """Who sees whom along a row of 8 pixels: fine pixels above, coarse ones below, a line for each connection.

    Args:
        modules: title -> the live module, four of them; only their connections matter, not their weights.
    """
    d = Diagram(860, 466)
    words = []
    for i, (title, module) in enumerate(modules.items()):
        left, top = 12 + 422 * (i % 2), 12 + 224 * (i // 2)
        words.append(connections(d, left, top, title, tap_counts(module)))
    return d.picture(f"Connections between 8 fine and 4 coarse pixels. {'; '.join(words)}")


def tap_counts(module: Downsample | Upsample) -> Tensor:
    """How many taps of the kernel connect each of 8 fine pixels with each of 4 coarse ones, (8, 4), along a row."""
    n = 8 if isinstance(module, Downsample) else 4
    module = copy.deepcopy(module).double()
    nn.init.ones_(module.conv.weight)  # every tap counts 1
    x = torch.zeros(1, module.conv.in_channels, n, n, dtype=torch.float64, requires_grad=True)
    y = module(x)
    counts = torch.stack([influence(y, x, (y.shape[2] // 2, j)).sum(0) for j in range(y.shape[3])])  # (out, in)
    counts = counts / counts[counts > 0].min()  # without the taps down a column and the channels
    return (counts.T if isinstance(module, Downsample) else counts).round().long()


def connections(d: Diagram, left: float, top: float, title: str, counts: Tensor) -> str:
    """One card of ``resampling_picture``; says the same in words."""
    d.frame(left, top, 414, 216, title)
    x0, fine, coarse = left + 71, top + 52, top + 150
    for j in range(4):
        for i in counts[:, j].nonzero().flatten().tolist():
            ends = (x0 + (i + 0.5) * CELL, fine + 30), (x0 + (2 * j + 1) * CELL, coarse)
            chosen = j == 1
            d.line(ends, ORANGE if chosen else "#9a9a9a", width=(2.2 if chosen else 1) * int(counts[i, j]) ** 0.7)
    for i, total in enumerate(counts.sum(1).tolist()):
        d.box("data", x0 + i * CELL, fine, CELL, 30, str(total))
        d.text(x0 + (i + 0.5) * CELL, fine - 8, str(i), 11, GREY)
    for j in range(4):
        d.box("resample", x0 + 2 * j * CELL, coarse, 2 * CELL, 30, f"{j}")
    seen = counts[:, 1].nonzero().flatten()
    middle = float((seen[0] + seen[-1]) / 2)
    for position, radius, fill in ((middle, 6, "white"), (2.5, 3, ORANGE)):  # at the lower edge of the fine pixels
        corner = x0 + (position + 0.5) * CELL - radius, fine + 30 - radius
        d.rectangle(Box(*corner, 2 * radius, 2 * radius), fill, ORANGE, radius)
    joined = f"coarse pixel 1 is joined to {int(seen[0])}..{int(seen[-1])}, centre {middle:g}"
    d.text(left + 207, top + 199, f"{joined} (ring); it lies at 2.5 (dot)", 12, ORANGE)
    d.text(x0 - 8, fine + 15, "fine\n(taps)", 12, GREY, "rm")
    d.text(x0 - 8, coarse + 15, "coarse", 12, GREY, "rm")
    return f"{title}: taps at the fine pixels {counts.sum(1).tolist()}, {joined}; it lies at 2.5"


# Windows that grow


class Seen(NamedTuple):
    """What one pixel of a stage sees."""

    stage: str
    influence: Tensor  # (H, W)

    @property
    def side(self) -> int:
        """Length of the longer side of the window."""
        top, bottom, left, right = extent(self.influence)
        return max(bottom - top, right - left) + 1

    @property
    def cut(self) -> bool:
        """Whether the window reaches the edge of the input, and may be wider than it shows."""
        (top, bottom, left, right), (H, W) = extent(self.influence), self.influence.shape
        return min(top, left) == 0 or bottom == H - 1 or right == W - 1


DECADES = 6  # of influence that the colours tell apart


def influence_axes(axes: Axes, shape: Sequence[int]):
    """An empty map of influence with a frame for the window."""
    axes.set(xticks=[], yticks=[])
    colours = colormaps["cividis"].with_extremes(bad="#eeeeee")
    image = axes.imshow(np.full(tuple(shape), np.nan), colours, vmin=-DECADES, vmax=0, interpolation="nearest")
    frame = axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor=ORANGE, linewidth=1.5))
    return image, frame


def show_seen(image, frame, seen: Seen) -> None:
    """Put what a stage sees into a map and its frame: influence in powers of ten below the largest."""
    top, bottom, left, right = extent(seen.influence)
    image.set_data((seen.influence.double() / seen.influence.max()).log10().numpy())  # -inf, like NaN, has no colour
    frame.set_bounds(left - 0.5, top - 0.5, right - left + 1, bottom - top + 1)


def sides_axes(axes: Axes, found: Sequence[Seen], formula: Mapping[str, int]) -> None:
    """The side of the window at every stage, as a plot; windows that the edge of the input cuts off are left out."""
    stages, whole = [seen.stage for seen in found], [seen for seen in found if not seen.cut]
    axes.plot([stages.index(seen.stage) for seen in whole], [seen.side for seen in whole], "o", color=BLUE)
    dashes = [stages.index(stage) for stage in formula]
    axes.plot(dashes, list(formula.values()), "_", color=ORANGE, markersize=17, markeredgewidth=2.5)
    key(axes, {"dots: autograd, convolutions only": BLUE, "dashes: recursion (8.1)": ORANGE})
    axes.set_xticks(range(len(stages)), stages, rotation=90)
    most = max([*formula.values(), *(seen.side for seen in whole)])
    axes.set(ylabel="side of the window, pixels", xlim=(-0.5, len(stages) - 0.5), ylim=(0, 1.35 * most))
    axes.grid(**GRID)


class FieldPlot:
    """Which pixels of the input move the pixel in the middle, beside the side of the window at every stage.

    ``found`` is what every stage sees with convolutions only, ``formula`` the side by the recursion where there is one.
    """

    def __init__(self, found: Sequence[Seen], formula: Mapping[str, int]):
        self.found, self.formula = list(found), formula
        figure = Figure(figsize=(WIDTH, 3.8))
        axes = figure.add_axes((0.01, 0.05, 0.38, 0.85))
        self.image, self.frame = influence_axes(axes, found[0].influence.shape)
        right = figure.add_axes((0.475, 0.26, 0.515, 0.64))
        sides_axes(right, self.found, formula)
        (self.here,) = right.plot([], [], "s", markersize=15, markerfacecolor="none", markeredgecolor=BLACK)
        self.live = LiveFigure(figure, [self.image, self.frame, self.here], headline(figure, 0.012))

    def draw(self, seen: Seen, what: str) -> Picture:
        """The map of one stage; ``what`` says what counts."""
        show_seen(self.image, self.frame, seen)
        here = [(i, dot.side) for i, dot in enumerate(self.found) if dot is seen and not seen.cut]
        self.here.set_data([i for i, _ in here], [side for _, side in here])
        least = "at least " * seen.cut
        sees = f"{seen.stage} sees {least}{seen.side} x {seen.side} pixels"
        closed = self.formula.get(seen.stage)
        by_formula = f"the recursion says {closed}" if closed else "no recursion for the way up"
        strong = float((seen.influence > seen.influence.max() / 100).sum())
        alt = f"{sees}, {what}; {by_formula}; {strong:.0f} pixels have at least a hundredth of the largest influence"
        return self.live.picture(alt, f"{seen.stage}: {least}{seen.side} × {seen.side} pixels ({what})")


def fields_picture(found: Sequence[Seen], formula: Mapping[str, int]) -> Picture:
    """What the stages with a recursion see, side by side, above the side of the window at every stage."""
    figure, shown = Figure(figsize=(WIDTH, 5)), [seen for seen in found if seen.stage in formula]
    width, room = 0.98 / len(shown), 0.6 * max(seen.side for seen in shown)  # room around the middle
    for i, seen in enumerate(shown):
        axes = figure.add_axes((0.01 + i * width, 0.66, width - 0.01, 0.23))
        show_seen(*influence_axes(axes, seen.influence.shape), seen)
        axes.set_title(f"{seen.stage}\n{seen.side} × {seen.side}", fontsize=10)
        H, W = seen.influence.shape
        axes.set(xlim=(W / 2 - room, W / 2 + room), ylim=(H / 2 + room, H / 2 - room))
    sides_axes(figure.add_axes((0.075, 0.2, 0.915, 0.42)), found, formula)
    each = ", ".join(f"{seen.stage} {seen.side} x {seen.side}" for seen in found if not seen.cut)
    return picture(figure, f"The window of the input that one pixel sees, growing from stage to stage: {each} pixels")


# Checkerboards


class CheckerboardPlot:
    """Taps that reach each pixel, what becomes of a constant image of ``side`` pixels, and its spectrum along a row."""

    def __init__(self, side: int = 24):
        figure = Figure(figsize=(WIDTH, 3.3))
        taps = figure.add_axes((0.01, 0.04, 0.29, 0.78), xticks=[], yticks=[])
        self.taps = taps.imshow(np.zeros((4, 4)), "cividis", vmin=0, vmax=1)
        self.numbers = {
            (i, j): taps.text(j, i, "", ha="center", va="center", fontsize=13) for i in range(4) for j in range(4)
        }
        output = figure.add_axes((0.32, 0.04, 0.29, 0.78), xticks=[], yticks=[])
        self.output = output.imshow(np.zeros((side, side)), "gray", vmin=-2, vmax=2, interpolation="nearest")
        right = figure.add_axes((0.685, 0.2, 0.305, 0.62))
        right.set(xlim=(-0.02, 0.52), ylim=(0, 1.08))
        right.set_xlabel("cycles per pixel along a row\n(0: brightness, and stripes along the row)", fontsize=9)
        right.grid(**GRID)
        self.bars = right.vlines([0], [0], [0], color=BLUE, linewidth=5)
        for x, title in ((0.155, "taps that reach each pixel"), (0.465, "what a constant image becomes"),
                         (0.84, "amplitude by frequency")):  # fmt: skip
            figure.text(x, 0.84, title, ha="center", fontsize=10)
        moving = [self.taps, *self.numbers.values(), self.output, self.bars]
        self.live = LiveFigure(figure, moving, headline(figure, 0.012))

    def draw(self, what: str, stride: int, taps: Tensor, output: Tensor) -> Picture:
        """The picture for one upsampling of a constant image; ``what`` says how.

        ``taps`` (4, 4) counts those that reach each pixel, ``output`` (H, W) is what comes out, away from the border.
        """
        most = int(taps.max())
        self.taps.set_data((taps / most).numpy())
        for (i, j), text in self.numbers.items():
            text.set_visible(max(i, j) < stride)
            text.set(text=str(int(taps[i, j])), color="black" if taps[i, j] > 0.5 * most else "white")
        size = float(output.square().mean().sqrt()) or 1.0
        self.output.set_data(((1 if output.mean() >= 0 else -1) * output / size).numpy())
        frequency, amplitude = (x.tolist() for x in spectrum(output / size))
        self.bars.set_segments([[(f, 0), (f, height)] for f, height in zip(frequency, amplitude, strict=True)])
        uneven = f"unevenness {unevenness(output):.2f}"
        loudest = max(range(1, len(amplitude)), key=amplitude.__getitem__)
        peak = f"loudest at {frequency[loudest]:.2f} cycles per pixel"
        peak = peak if amplitude[loudest] > 1e-4 else "no frequency but 0"
        reached = f"pixels are reached by {', '.join(map(str, taps.unique().tolist()))} taps"
        return self.live.picture(f"{what}: {reached}; {uneven}, {peak}", f"{what}: {uneven}")


# Guesses without skips


def without_skips_picture(rows: Mapping[str, Tensor], losses: Mapping[str, float], where: str) -> Picture:
    """Images in named rows, (B, C, H, W) each in [-1, 1], with losses in words.

    Args:
        rows: name -> images; what lies outside [-1, 1] is cut off.
        losses: name -> loss, for the alternative text and the second line at the top.
        where: time and settings in words.
    """
    said = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
    sheet = titled(contact_sheet(thumbnails(rows, 104), gap=10), where, f"loss: {said}")
    return picture(sheet, f"{', '.join(rows)}; {where}; loss {said}")


def side_by_side(images: Mapping[str, Tensor], side: int = 132) -> Picture:
    """Named images (C, H, W) in [-1, 1], enlarged to one size."""
    framed = [ImageOps.expand(thumbnail(x, side - 2), 1, GREY) for x in images.values()]  # white may be among them
    sheet = contact_sheet({"": framed}, list(images), gap=12)
    sizes = ", ".join(f"{name} ({x.shape[1]} x {x.shape[2]}, values {float(x.min()):.2f} to {float(x.max()):.2f})"
                      for name, x in images.items())  # fmt: skip
    return picture(sheet, f"Images side by side: {sizes}")

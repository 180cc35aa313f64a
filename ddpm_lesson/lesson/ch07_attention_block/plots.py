"""Attention: the block as a drawing, its maps, every number of a small one, and what it costs."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from PIL import Image, ImageDraw
from torch import Tensor, nn

from ddpm_lesson.data import to_bytes
from ddpm_lesson.lesson.ch07_attention_block.experiments import Saturation, effective_pixels
from ddpm_lesson.lesson.kit.colours import BLACK, BLUE, GREY, ORANGE
from ddpm_lesson.lesson.kit.diagram import Box, Diagram, legend
from ddpm_lesson.lesson.kit.figure import LiveFigure, Picture, headline, key, picture, subplots
from ddpm_lesson.lesson.kit.images import contact_sheet, thumbnail
from ddpm_lesson.unet import AttentionBlock


def attention_picture(block: AttentionBlock, height: int, width: int) -> Picture:
    """A live block as boxes and arrows, with the shape of what flows along each for a map of ``height`` x ``width``."""
    C, h, d_k, N = block.output.out_features, block.n_heads, block.d_k, height * width
    image, tokens, head, pairs = f"{C}×{height}×{width}", f"{N}×{C}", f"{h}×{N}×{d_k}", f"{h}×{N}×{N}"
    d = Diagram(910, 370)
    x = d.box("data", 20, 40, 76, 44, "x")
    norm = norm_box(d, block.norm)
    flat = d.box("block", 375, 40, 100, 44, "flatten,", "transpose")
    linear = d.box("linear", 560, 40, 120, 44, "Linear", f"{C} to {block.projection.out_features}")
    v, k, q = (d.box("data", at, 145, 110, 44, name, head) for name, at in (("v", 425), ("k", 595), ("q", 765)))
    scores = d.box("attention", 752, 240, 136, 44, "q kᵀ", f"/ √{d_k}")
    softmax = d.box("attention", 595, 240, 78, 44, "softmax", "over keys")
    total = d.box("attention", 437, 240, 86, 44, "weights", "times v")
    output = d.box("linear", 285, 240, 80, 44, "Linear", f"{h * d_k} to {C}")
    back = d.box("block", 140, 240, 84, 44, "transpose,", "reshape")
    plus = d.plus(58, 262)

    d.arrow(x.right, norm.left, label=image)
    d.arrow(norm.right, flat.left, label=image)
    d.arrow(flat.right, linear.left, label=tokens)
    for box in (v, k, q):
        d.arrow(linear.bottom, (620, 115), (box.top[0], 115), box.top)
    d.text(630, 101, f"{N}×{3 * h * d_k}, cut in three", 12, anchor="lm")
    d.arrow(q.bottom, (q.bottom[0], 240))
    d.arrow(k.bottom, (k.bottom[0], 214), (775, 214), (775, 240))
    d.arrow(scores.left, softmax.right, label=pairs)
    d.arrow(softmax.left, total.right, label=pairs)
    d.arrow(v.bottom, total.top)
    d.arrow(total.left, output.right, label=head)
    d.arrow(output.left, back.right, label=tokens)
    d.arrow(back.left, plus.right, label=image)
    d.arrow(x.bottom, plus.top, kind="skip", label="x as it is")
    d.arrow(plus.bottom, (58, 312), label=image)
    d.text(20, 20, f"AttentionBlock: {C} channels, {h} {'head' if h == 1 else 'heads'}", 14, anchor="lm", bold=True)
    legend(d, 250, 340, ("data", "norm", "linear", "attention"))
    steps = "normalised, turned into" if isinstance(block.norm, nn.GroupNorm) else "not normalised, turned into"
    alt = (
        f"Attention block: x of shape {image} is {steps} {N} tokens of {C} numbers; a linear layer makes q, k, v of "
        f"shape {head}; q times k transposed over the root of {d_k} gives scores of shape {pairs}, a softmax over the "
        f"keys the weights; weights times v, a linear layer, back to {image}, added to x"
    )
    return d.picture(alt)


def norm_box(diagram: Diagram, norm: nn.Module) -> Box:
    """The box of the block's normalisation; it says so if that is missing."""
    if isinstance(norm, nn.GroupNorm):
        return diagram.box("norm", 185, 40, 100, 44, "GroupNorm", f"{norm.num_groups} groups")
    return diagram.box("block", 185, 40, 100, 44, "no norm", "!")


def heat(weights: Tensor, side: int) -> Image.Image:
    """A map (H, W), 0 dark blue and its largest value yellow, ``side`` pixels wide."""
    pixels = colormaps["cividis"]((weights / weights.max().clamp_min(1e-12)).numpy(), bytes=True)[..., :3]
    return Image.fromarray(pixels).resize((side, side * len(weights) // len(weights[0])), Image.Resampling.NEAREST)


def reach_picture(fields: Mapping[str, Tensor], row: int, column: int) -> Picture:
    """Which input pixels one output pixel depends on, for several networks side by side.

    Args:
        fields: by the network's name, (H, W) of absolute derivatives; 0 where the pixel is not seen.
        row, column: of the output pixel.
    """
    d, counts = Diagram(30 + 162 * len(fields), 214), []
    for i, (name, field) in enumerate(fields.items()):
        x, unit = 22 + 162 * i, 150 / len(field)
        pixels = np.where(field.numpy()[..., None] > 0, (86, 180, 233), (255, 255, 255)).astype(np.uint8)
        d.text(x + 75, 20, name, 13, bold=True)
        d.image(x, 36, 150, 150, pixels)
        d.rectangle(Box(x + column * unit, 36 + row * unit, unit, unit), ORANGE, ORANGE, 0, 0)
        seen = f"{int((field > 0).sum())} of {field.numel()}"
        d.text(x + 75, 199, seen, 13)
        counts.append(f"{name}: {seen}")
    what = f"Which input pixels (blue) the pixel at row {row}, column {column} (orange) sees"
    return d.picture(f"{what}. {'; '.join(counts)}")


def matrices_picture(
    matrices: Mapping[str, Tensor], tokens: Sequence[str], signs: Sequence[str] = (), digits: int = 2
) -> Picture:
    """Small matrices side by side with every number in its cell; orange below zero, blue above, stronger if larger.

    Args:
        matrices: by name, (len(tokens), columns) each; with a column for each token, the columns are named too.
        tokens: names of the rows.
        signs: what stands between a matrix and the next, a character each.
        digits: behind the decimal point.
    """
    columns = [m.shape[1] for m in matrices.values()]
    cell = min(58, (830 - 30 * len(columns)) / sum(columns))
    d, x = Diagram(880, 84 + 34 * len(tokens)), 52
    for i, name in enumerate(tokens):
        d.text(28, 80 + 34 * i, name, 13, bold=True)
    for (name, matrix), width, sign in zip_longest(matrices.items(), columns, signs, fillvalue=""):
        d.text(x + width * cell / 2, 20, name, 13, bold=True)
        matrix_cells(d, matrix, (x, 64, cell), digits)
        for j, token in enumerate(tokens if width == len(tokens) else ()):
            d.text(x + (j + 0.5) * cell, 48, token, 13, bold=True)
        x += width * cell + 30
        d.text(x - 16, 63 + 17 * len(tokens), sign, 16, bold=True)
    shown = "; ".join(
        f"{name}: " + ", ".join(" ".join(f"{n:.{digits}f}" for n in row) for row in matrix.tolist())
        for name, matrix in matrices.items()
    )
    return d.picture(f"Matrices, a row for each of {', '.join(tokens)}. {shown}")


def matrix_cells(d: Diagram, matrix: Tensor, place: tuple[float, float, float], digits: int) -> None:
    """The cells of one matrix, each on a colour that tells sign and size; ``place``: left, top, width of a cell."""
    left, top, width = place
    shares = matrix / matrix.abs().max().clamp_min(1e-9)
    for i, j in np.ndindex(*matrix.shape):
        x, y, share = left + j * width, top + 34 * i, float(shares[i, j])
        full = np.array((86, 180, 233) if share > 0 else (240, 150, 90))
        colour = tuple((255 + (full - 255) * abs(share)).astype(int))
        d.draw.rectangle([round(v * d.unit) for v in (x, y, x + width - 2, y + 32)], colour)
        d.text(x + width / 2 - 1, y + 16, f"{float(matrix[i, j]):.{digits}f}", 13 if width > 44 else 12)


class ScalePlot:
    """Scores of one query with ``n_keys`` keys, and their softmax, as bars; before grey ones, without a scale."""

    def __init__(self, n_keys: int):
        figure, (left, right) = subplots(3.3, 2, room=0.7, grid="y")
        left.set(title="scores (linear to 3, then logarithmic; grey: no scale)", xlabel="key", ylim=(-300, 300))
        left.set_yscale("symlog", linthresh=3)
        left.set_yticks([-100, -10, 0, 10, 100], ["-100", "-10", "0", "10", "100"])
        right.set(title="weights: their softmax (dashed: all alike)", xlabel="key", ylim=(0, 1.05))
        for axes in (left, right):
            axes.set(xlim=(-0.7, n_keys - 0.3), xticks=range(n_keys))
        left.axhline(0, color=BLACK, linewidth=0.8)
        self.plain = [axes.vlines(range(n_keys), 0, 1, color="0.8", linewidth=16) for axes in (left, right)]
        self.scores = left.vlines(range(n_keys), 0, 1, color=BLUE, linewidth=9)
        self.weights = right.vlines(range(n_keys), 0, 1, color=ORANGE, linewidth=9)
        right.axhline(1 / n_keys, color=GREY, linewidth=1, linestyle="--")
        self.live = LiveFigure(figure, [*self.plain, self.scores, self.weights], headline(figure))

    def draw(self, scores: Tensor, plain: Tensor, what: str) -> Picture:
        """The picture for the scores of one query, (n_keys,), scaled and plain; ``what`` says how they were made."""
        weights = scores.softmax(0)
        drawn = zip((*self.plain, self.scores, self.weights), (plain, plain.softmax(0), scores, weights), strict=True)
        for bars, heights in drawn:
            bars.set_segments([((i, 0), (i, height)) for i, height in enumerate(heights.tolist())])
        keys, slope = float(effective_pixels(weights)), float(1 - weights.square().sum())
        verdict = (
            f"scores spread by {float(scores.std()):.2f}    largest weight {float(weights.max()):.3f}    "
            f"looks at {keys:.1f} keys    gradient left {slope:.3f}"
        )
        return self.live.picture(f"One query and {len(scores)} keys, {what}: {' '.join(verdict.split())}", verdict)


def two_curves(axes: Axes, x: Sequence[int], solid: Sequence[float], dashed: Sequence[float], **what: Any) -> None:
    """A solid and a dashed line with marks over ``x`` on a logarithmic axis; more of ``what`` ``axes.set`` takes."""
    axes.plot(x, dashed, "s--", color=ORANGE, linewidth=2)
    axes.plot(x, solid, "o-", color=BLUE, linewidth=2)
    axes.set(xscale="log", **what)
    axes.set_xticks(x, [str(each) for each in x])
    axes.minorticks_off()


def saturation_picture(d_k: Sequence[int], scaled: Saturation, unscaled: Saturation, n_keys: int) -> Picture:
    """Largest weight and what is left of the gradient over d_k, with and without the scale."""
    figure, panes = subplots(3.2, 2)
    titles = "largest weight of a row", "gradient left"
    for axes, title, solid, dashed in zip(panes, titles, scaled, unscaled, strict=True):
        two_curves(axes, d_k, solid, dashed, xlabel="d_k", title=title, ylim=(0, 1.05))
    key(panes[0], {"solid: divided by sqrt(d_k)": BLUE}, "lower right")
    key(panes[0], {"dashed: not divided": ORANGE})
    ends = [f"{float(s.largest[-1]):.2f} and gradient {float(s.slope[-1]):.2f}" for s in (scaled, unscaled)]
    alt = (
        f"Over d_k from {d_k[0]} to {d_k[-1]} with {n_keys} keys: at the end the largest weight is {ends[0]} with the "
        f"scale, {ends[1]} without"
    )
    return picture(figure, alt)


def cost_picture(
    sides: Sequence[int], seconds: Mapping[str, Sequence[float]], peaks: Mapping[str, Sequence[float]]
) -> Picture:
    """Time and peak memory of both attentions over the side of the image, both axes logarithmic.

    Args:
        sides: of the image, in pixels.
        seconds, peaks: for "by hand" and "PyTorch's own", one value a side, in seconds and bytes.
    """
    figure, panes = subplots(3.6, 2)
    names = "by hand", "PyTorch's own"
    parts = ("milliseconds", seconds, 1e3), ("peak memory, MiB", peaks, 2**-20)
    for axes, (title, costs, unit) in zip(panes, parts, strict=True):
        dashed, solid = (unit * np.array(costs[name]) for name in names)
        two_curves(axes, sides, solid, dashed, yscale="log", title=title, xlabel="side of the image in pixels")
        last = max(dashed[-1], solid[-1])
        axes.plot(sides, [last * 3 * (side / sides[-1]) ** 4 for side in sides], color=GREY, linewidth=1)
        key(axes, {"dashed: by hand": ORANGE, "solid: PyTorch's own": BLUE, "thin: side to the power of 4": GREY})
        axes.set_ylim(top=last * 60)
    ends = (f"{name}: {1e3 * seconds[name][-1]:.3g} ms and {peaks[name][-1] / 2**20:.3g} MiB" for name in names)
    over = f"Time and peak memory of attention over sides {sides[0]} to {sides[-1]}"
    return picture(figure, f"{over}. At the end {'; '.join(ends)}")


def query_picture(xt: Tensor, x0_hat: Tensor, weights: Tensor, cell: tuple[int, int], where: str) -> Picture:
    """The noisy image with the query marked, where it looks, and what the network guesses.

    Args:
        xt, x0_hat: (C, H, W) in [-1, 1].
        weights: (h, w), sums to 1.
        cell: row and column of the query.
        where: time and block in words.
    """
    d, side, top, unit = Diagram(860, 316), 250, 38, 250 / len(weights)
    shown = {"x_t, with the query in orange": thumbnail(xt, side), "where the query looks, in %": heat(weights, side)}
    shown["x0_hat, the network's guess"] = thumbnail(x0_hat, side)
    for left, (name, image) in zip((30, 305, 580), shown.items(), strict=True):
        d.text(left + side / 2, 20, name, 13, bold=True)
        d.image(left, top, side, side, image)
    percent_cells(d, weights, (305, top), unit)
    for left in (30, 305):
        x, y = left + cell[1] * unit, top + cell[0] * unit
        d.line([(x, y), (x + unit, y), (x + unit, y + unit), (x, y + unit), (x, y)], ORANGE, width=3)
    row, column = divmod(int(weights.argmax()), weights.shape[1])
    verdict = (
        f"most to row {row}, column {column}: {weights.max():.0%}; to itself {weights[cell]:.0%}; "
        f"spread over {effective_pixels(weights.flatten()):.1f} pixels"
    )
    d.text(430, 302, verdict, 13)
    return d.picture(f"Attention of the query at row {cell[0]}, column {cell[1]}, {where}: {verdict}")


def percent_cells(d: Diagram, weights: Tensor, corner: tuple[float, float], unit: float) -> None:
    """Write each weight as a percentage into its cell, where there is room for it."""
    for i, j in np.ndindex(*weights.shape) if unit >= 24 else ():
        colour = BLACK if weights[i, j] > 0.6 * weights.max() else "white"
        d.text(corner[0] + (j + 0.5) * unit, corner[1] + (i + 0.5) * unit, f"{100 * weights[i, j]:.0f}", 12, colour)


def looks_picture(
    maps: Mapping[str, Sequence[Tensor]], captions: Sequence[str], cell: tuple[int, int], images: Sequence[Tensor] = ()
) -> Picture:
    """Attention maps of one query in named rows, below the images where there are some, with the query outlined.

    Args:
        maps: by the row's name, one (h, w) a column.
        captions: one a column.
        cell: row and column of the query.
        images: what the network saw, (C, H, W) in [-1, 1], one a column.
    """
    rows = {"x_t": [thumbnail(image, 120) for image in images]} if len(images) else {}
    rows |= {name: [heat(weights, 120) for weights in row] for name, row in maps.items()}
    n_cells = next(iter(maps.values()))[0].shape[1]
    sheet = {name: [marked(image, n_cells, cell) for image in row] for name, row in rows.items()}
    pixels = {name: [f"{effective_pixels(weights.flatten()):.1f}" for weights in row] for name, row in maps.items()}
    spreads = "; ".join(f"{name} {', '.join(row)}" for name, row in pixels.items())
    where = f"the query at row {cell[0]}, column {cell[1]} looks: {', '.join(captions)}"
    return picture(contact_sheet(sheet, captions, gap=10), f"Where {where}. Effective number of pixels: {spreads}")


def marked(image: Image.Image, n_cells: int, cell: tuple[int, int]) -> Image.Image:
    """An image with one of its ``n_cells`` x ``n_cells`` cells outlined in white and orange, seen on any colour."""
    unit = image.width / n_cells
    image = image.convert("RGB")
    x, y = cell[1] * unit, cell[0] * unit
    draw = ImageDraw.Draw(image)
    draw.rectangle((x - 2, y - 2, x + unit + 1, y + unit + 1), outline="white", width=2)
    draw.rectangle((x, y, x + unit - 1, y + unit - 1), outline=ORANGE, width=2)
    return image


def eyes_picture(rows: Mapping[str, Tensor], matches: Mapping[str, float], n_columns: int = 6) -> Picture:
    """Pictures of two eyes in named rows, with the share of matching pairs.

    Args:
        rows: by name, (B, 3, H, W) in [-1, 1]; the first ``n_columns`` are shown.
        matches: by the same names, the share of all pictures whose eyes have one colour.
        n_columns: pictures a row.
    """
    d = Diagram(880, 24 + 62 * len(rows))
    for i, (name, images) in enumerate(rows.items()):
        y = 18 + 62 * i
        d.text(16, y + 14, name, 13, anchor="lm", bold=True)
        d.text(16, y + 32, f"{matches[name]:.0%} match", 13, anchor="lm")
        for j, image in enumerate(images[:n_columns]):
            height, width = image.shape[1:]
            d.image(186 + 114 * j, y + 10, 108, 108 * height / width, to_bytes(image).permute(1, 2, 0).numpy())
    shares = "; ".join(f"{name}: {matches[name]:.0%}" for name in rows)
    return d.picture(f"Pictures of two far eyes, {n_columns} of each kind. Share whose eyes have one colour, {shares}")

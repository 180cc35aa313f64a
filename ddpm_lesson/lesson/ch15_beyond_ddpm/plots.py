"""Scores, solvers, targets, guidance and straight paths."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator
from torch import Tensor

from ddpm_lesson.lesson.ch15_beyond_ddpm import experiments as ex
from ddpm_lesson.lesson.kit.colours import BLACK, BLUE, GREEN, GREY, LINES, ORANGE, SKY
from ddpm_lesson.lesson.kit.figure import LiveFigure, Picture, headline, key, picture, subplots
from ddpm_lesson.lesson.kit.images import contact_sheet, thumbnails
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, GaussianMixture
from ddpm_lesson.sample import ReverseStep, spaced_times
from ddpm_lesson.schedule import NoiseSchedule

Points = Mapping[str, Sequence[tuple[int, float | Sequence[float]]]]  # name -> (evaluations, error, or one a seed)
MARKERS = ("o", "s", "^", "D")


def rows_picture(rows: Mapping[str, Tensor], alt: str, side: int = 64) -> Picture:
    """Batches of images, each a named row."""
    return picture(contact_sheet(thumbnails(rows, side), gap=6), alt)


def score_picture(learned: Mapping[float, Tensor], x: Tensor) -> Picture:
    """The exact score of the two bumps and a learned one, at three noise levels, over the density.

    ``learned`` is alpha_bar -> the network's score at ``x``, (N,).
    """
    figure, panes = subplots(3.2, len(learned))
    gaps = []
    for axes, (a, found) in zip(panes, learned.items(), strict=True):
        p, exact = TWO_BUMPS.noised(a).prob(x), ex.score(x, a)
        axes.fill_between(x, p / p.max() * 4 - 9, -9, color=SKY, alpha=0.5, linewidth=0)
        axes.plot(x, exact, color=BLACK, linewidth=3, alpha=0.45)
        axes.plot(x, found, color=ORANGE, linestyle="--", linewidth=1.8)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set(title=f"alpha_bar = {a:.2f}", xlabel="x_t", xlim=(float(x[0]), float(x[-1])), ylim=(-9, 9))
        gaps.append(float((p * (exact - found) ** 2).sum().div(p.sum()).sqrt()))
    panes[0].set_ylabel("score")
    key(panes[0], {"line: exact": GREY, "dashed: learned": ORANGE, "shape: density": BLUE}, "upper right")
    said = ", ".join(f"{gap:.2f} at alpha_bar {a:.2f}" for gap, a in zip(gaps, learned, strict=True))
    return picture(figure, f"Exact and learned score of two bumps; root mean square difference under the data: {said}")


def errors_picture(panes: Mapping[str, Points], ylabel: str, floors: Mapping[str, float] | None = None) -> Picture:
    """Error against evaluations of the network, both logarithmic, a pane for each title.

    Of several seeds the mean is drawn, over a band from the least to the largest. ``floors`` is title -> what real
    images have in the place of samples.
    """
    figure, columns = subplots(3.6, len(panes), which="both")
    for axes, (title, curves) in zip(columns, panes.items(), strict=True):
        error_curves(axes, curves)
        axes.set_title(title, fontsize=11)
        axes.set(xlabel="network evaluations")
        if floors:
            floor_line(axes, floors[title])
        axes.set_ylabel(ylabel)
    figure.legend(*columns[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    said = [f"{title}: {in_words(curves)}{real_in_words(floors, title)}." for title, curves in panes.items()]
    return picture(figure, " ".join(said))


def error_curves(axes: Axes, curves: Points) -> None:
    """A line for each name."""
    ticks = sorted({n for points in curves.values() for n, _ in points})
    for (name, points), (colour, line), marker in zip(curves.items(), LINES, MARKERS, strict=False):
        counts, errors = [n for n, _ in points], [np.atleast_1d(error) for _, error in points]
        look = {"color": colour, "linestyle": line, "marker": marker, "linewidth": 2}
        axes.loglog(counts, [e.mean() for e in errors], label=name, **look)
        axes.fill_between(counts, [e.min() for e in errors], [e.max() for e in errors], color=colour, alpha=0.15)
    shown = [n for n in ticks if n in (1, 2, 4, 5, 8, 10, 16, 20, 32, 40, 50, 64, 80, 128, 160)]
    axes.set_xticks(shown, [str(n) for n in shown], fontsize=9)
    axes.set_xticks([], minor=True)


def floor_line(axes: Axes, floor: float) -> None:
    """What real images have, and plain numbers at the axis of a distance."""
    axes.axhline(floor, color=GREY, linewidth=1)
    axes.text(
        0.98,
        floor,
        "real test images",
        color=GREY,
        fontsize=9,
        va="bottom",
        ha="right",
        transform=axes.get_yaxis_transform(),
    )
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def in_words(curves: Points) -> str:
    """Every number of the curves, the mean over seeds."""
    return "; ".join(
        f"{name} " + ", ".join(f"{np.mean(error):.2g} with {n}" for n, error in points)
        for name, points in curves.items()
    )


def real_in_words(floors: Mapping[str, float] | None, title: str) -> str:
    """The floor of a pane, if it has one."""
    return f"; real test images {floors[title]:.2g}" if floors else ""


def guidance_picture(found: Mapping[str, Mapping[float, Sequence[float]]]) -> Picture:
    """What the scale does to digits: on the left what is asked for and how much they differ, on the right distances.

    ``found`` is ``in_real_units()``: name -> scale -> a number for every seed, where real digits have 1.
    """
    figure, panes = subplots(3.5, 2)
    words = {
        "agreement": "the digit asked for is read",
        "spread": "spread within a digit",
        "classifier": "classifier's features",
        "pixels": "pixels",
    }
    for (what, values), (colour, line), axes in zip(
        found.items(), LINES, (panes[0], panes[0], panes[1], panes[1]), strict=False
    ):
        scales, seeds = [*values], [*values.values()]
        axes.plot(
            scales,
            [np.mean(x) for x in seeds],
            color=colour,
            linestyle=line,
            marker="o",
            linewidth=2,
            label=words[what],
        )
        axes.fill_between(scales, [min(x) for x in seeds], [max(x) for x in seeds], color=colour, alpha=0.2)
    panes[0].set(ylabel="share, or multiple of real digits", ylim=(0, 1.3))
    panes[1].set(ylabel="Frechet distance over its floor", yscale="log")
    floor_line(panes[1], 1.0)
    for axes in panes:
        axes.set_xlabel("scale s")
        axes.set_xticks([scale for scale in found["agreement"] if scale % 1 == 0])
        axes.legend(fontsize=10, frameon=False)
    rows = [
        f"{words[what]} " + ", ".join(f"{np.mean(x):.2g} at {s:g}" for s, x in v.items()) for what, v in found.items()
    ]
    return picture(
        figure, f"By the scale of guidance, over what real digits have, mean of the seeds: {'; '.join(rows)}"
    )


class SolverPlot:
    """Points on their way from noise to data, as a solver draws them, over the exact paths."""

    def __init__(self, times: Sequence[int], exact: Tensor):
        """``times`` falling, (n,), and the exact paths there, (n, points)."""
        figure, (axes,) = subplots(3.7, room=0.5)
        where = self.place(torch.tensor([*times, -1]))
        axes.plot(where, exact.numpy(), color=GREY, linewidth=3, alpha=0.35)
        axes.set(xlim=(float(where[0]), 0), ylim=(-2.6, 2.6), ylabel="x_t")
        marks = [0, 10, 50, 100, 200, 400, 600, 800, 1000]
        axes.set_xticks(self.place(torch.tensor(marks) - 1).tolist(), marks)
        axes.set_xlabel("t + 1 (the small ones drawn wider)", labelpad=1)
        self.curves = [
            axes.plot([], [], color=colour, marker="o", markersize=4, linewidth=1.4)[0]
            for colour in (BLUE, ORANGE, GREEN) * (exact.shape[1] // 3)
        ]
        self.title = headline(figure)
        self.live = LiveFigure(figure, [*self.curves, self.title])

    @staticmethod
    def place(t: Tensor) -> Tensor:
        """Where a time is drawn."""
        return (t + 1).double().sqrt()

    def draw(self, states: Sequence[ReverseStep], name: str, asked: int, error: float) -> Picture:
        """The picture of one run, which ends with the sample."""
        where = self.place(torch.tensor([*(s.t for s in states), -1]))
        values = torch.stack([*(s.xt.flatten() for s in states), states[-1].x0_hat.flatten()])
        for curve, path in zip(self.curves, values.T.numpy(), strict=True):
            curve.set_data(where, path)
        words = f"{name}, {len(states)} steps, {asked} evaluations: ends {error:.3f} from the exact ends"
        self.title.set_text(words)
        return self.live.picture(f"Paths from noise to data over the exact ones. {words}, root mean square")


def circle_picture(n: int = 5) -> Picture:
    """x_t on its way from an image to a noise, which are the axes: a quarter of a circle, with v at some places."""
    phi = torch.linspace(0, torch.pi / 2, 91, dtype=torch.float64)
    figure, (axes,) = subplots(3.4)
    axes.plot(phi.cos(), phi.sin(), color=GREY, linewidth=3, alpha=0.5)
    for at in torch.linspace(0, torch.pi / 2, n, dtype=torch.float64):
        x0, eps = float(at.cos()), float(at.sin())
        axes.plot((0, x0), (0, eps), color=BLUE, linewidth=1)
        arrow = {"arrowstyle": "-|>", "color": ORANGE, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x0 - 0.3 * eps, eps + 0.3 * x0), (x0, eps), arrowprops=arrow)
        axes.plot(x0, eps, "o", color=BLUE)
    axes.text(1.03, -0.02, "data, phi = 0", va="center")
    axes.text(0.03, 1.05, "noise, phi = 90°", va="bottom")
    axes.set(xlabel="share of x_0: sqrt(alpha_bar)", ylabel="share of eps", xlim=(-0.45, 1.6), ylim=(-0.1, 1.25))
    axes.set_aspect("equal")
    key(axes, {"dots: x_t": BLUE, "arrows: v, drawn shorter": ORANGE}, "upper right")
    alt = (
        "A quarter of a circle from the image, along the axis of x_0, to the noise, along that of eps. x_t runs on it, "
        "and arrows at its side, at right angles to the way from the origin, are v: at the image it points to the "
        "noise, at the noise away from the image"
    )
    return picture(figure, alt)


def weights_picture() -> Picture:
    """What an error of the image counts in each loss, over the signal-to-noise ratio."""
    decades = np.linspace(-3, 3, 241)
    snr = 10**decades
    lines = {
        "x0: 1": np.ones_like(snr),
        "eps: SNR": snr,
        "v: SNR + 1": snr + 1,
        "flow: (sqrt SNR + 1)²": (np.sqrt(snr) + 1) ** 2,
        "min-SNR: SNR, at most 5": np.minimum(snr, 5),
    }
    figure, (axes,) = subplots(3.4)
    for (name, values), (colour, dashes) in zip(lines.items(), LINES, strict=False):
        wide = name.startswith("eps")  # under two of the others, on one side each
        look = {"linewidth": 7, "alpha": 0.35, "linestyle": "-"} if wide else {"linewidth": 2, "linestyle": dashes}
        axes.plot(decades, values, color=colour, label=name, zorder=1 if wide else 2, **look)
    axes.set(yscale="log", xlim=(-3, 3), xlabel="log10 of SNR: noise on the left, data on the right", ylim=(1e-3, 2e3))
    axes.set_ylabel("weight of an error of x0_hat")
    axes.legend(fontsize=10)
    alt = (
        "Weights of an error of the image over SNR: of x0 always 1; of eps SNR, which vanishes in noise; of v SNR + 1 "
        "and of a flow (sqrt SNR + 1) squared, 1 in noise and large near data; of min-SNR SNR up to 5"
    )
    return picture(figure, alt)


class GuidancePlot:
    """Samples of a guided class under its own density, and the tilted density that one might expect."""

    def __init__(self):
        figure, (axes,) = subplots(3.8, room=0.5, grid="x")
        self.x = torch.linspace(-2.5, 3.5, 1201, dtype=torch.float64)
        label = GaussianMixture([1.0], ex.CLASSES.means[1:], ex.CLASSES.stds[1:])
        axes.plot(self.x, ex.CLASSES.prob(self.x), color=GREY, linewidth=1.5, linestyle=":")
        axes.plot(self.x, label.prob(self.x), color=BLUE, linewidth=2)
        (self.guided,) = axes.plot([], [], color=ORANGE, linewidth=3)
        (self.tilted,) = axes.plot([], [], color=BLACK, linewidth=1.8, linestyle="--")
        axes.set(xlim=(-2.5, 3.5), ylim=(0, 2.1), xlabel="x_0", ylabel="density")
        lines = {
            "dotted: all data": GREY,
            "solid: the class": BLUE,
            "dashed: class^s all^(1-s)": BLACK,
            "thick: guided samples": ORANGE,
        }
        key(axes, lines)
        self.title = headline(figure)
        self.live = LiveFigure(figure, [self.guided, self.tilted, self.title])

    def draw(self, scale: float, samples: Tensor) -> Picture:
        """The picture for one scale; ``samples`` rise, with even ranks."""
        density = 1 / len(samples) / samples.diff()  # the ranks of the starts are even, and the path keeps them
        self.guided.set_data((samples[1:] + samples[:-1]) / 2, density)
        p = ex.tilted(self.x, scale)
        self.tilted.set_data(self.x, p)
        mean = float(torch.trapezoid(p * self.x, self.x))
        std = float(torch.trapezoid(p * (self.x - mean) ** 2, self.x).sqrt())
        said = f"scale {scale:g} (the paper's w = {scale - 1:g})"
        got = f"samples {samples.mean():.2f} ± {samples.std():.2f}, dashed {mean:.2f} ± {std:.2f}"
        self.title.set_text(f"{said}: {got}")
        return self.live.picture(f"Guided samples of one of two classes, {said}, mean and standard deviation: {got}")


def paths_picture(runs: Mapping[str, tuple[Sequence[float], Tensor]]) -> Picture:
    """Paths from noise (left) to data (right), one pane a run; times falling from 1, and values (times, points)."""
    figure, panes = subplots(3.2, len(runs), sharey=True)
    for axes, (name, (times, values)) in zip(panes, runs.items(), strict=True):
        for i, path in enumerate(values.T.numpy()):
            axes.plot(times, path, color=(BLUE, ORANGE, GREEN)[i % 3], linewidth=1.2)
        axes.set(xlabel="t", xlim=(1, 0), ylim=(-2.6, 2.6))
        axes.set_title(name, fontsize=11)
        axes.xaxis.set_major_formatter("{x:g}")  # the 0 of a pane is near the 1 of the next
    panes[0].set_ylabel("x_t")
    ends = "; ".join(f"{name} ends at {last_of(values)}" for name, (_, values) in runs.items())
    return picture(figure, f"Paths from noise on the left to data on the right. {ends}")


def last_of(values: Tensor) -> str:
    """The ends of the paths, in words."""
    return ", ".join(f"{x:.2f}" for x in values[-1].tolist())


def levels_picture(n_steps: int = 18) -> Picture:
    """Noise levels that samplers visit: even times of the linear schedule, EDM's, and those of straight paths."""
    bar = NoiseSchedule.linear().to(torch.float64).alpha_bar
    ddpm = (1 / bar[spaced_times(1000, n_steps)] - 1).sqrt()
    ramp = torch.linspace(0, 1, n_steps, dtype=torch.float64)
    edm = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7  # Karras et al. 2022, Eq. 5
    t = torch.arange(n_steps, 0, -1, dtype=torch.float64) / n_steps
    rows = {"DDPM's times": ddpm, "EDM, rho = 7": edm, "straight paths": t / (1 - t)}
    figure, (axes,) = subplots(2.5, grid="x")
    for i, (values, colour) in enumerate(zip(rows.values(), (BLUE, ORANGE, GREEN), strict=True)):
        axes.plot(values, [-i] * n_steps, "|", color=colour, markersize=24, markeredgewidth=2)
        if values[0].isinf():
            axes.plot(0.012, -i, "<", color=colour, markersize=9, transform=axes.get_yaxis_transform())
            axes.text(0.03, -i, "pure noise", color=colour, va="center", transform=axes.get_yaxis_transform())
    axes.set_yticks([0, -1, -2], rows)
    axes.set(xscale="log", xlabel="noise over image, r = sqrt((1 - alpha_bar) / alpha_bar)", ylim=(-2.6, 0.6))
    axes.invert_xaxis()
    ends = "; ".join(f"{name} from {level_in_words(float(v[0]))} to {float(v[-1]):.2g}" for name, v in rows.items())
    return picture(figure, f"The {n_steps} noise levels that samplers visit, from noise to data: {ends}")


def level_in_words(r: float) -> str:
    """A noise level; that of pure noise lies beyond every axis."""
    return "pure noise, an arrow at the edge," if r == float("inf") else f"{r:.3g}"

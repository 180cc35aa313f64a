"""Noise prediction: weights of the loss, guesses of the noise and of the image, and the bound put together."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from ddpm_lesson.lesson.kit.colours import BLACK, BLUE, GREEN, GREY, ORANGE, SKY
from ddpm_lesson.lesson.kit.figure import WIDTH, LiveFigure, Picture, headline, key, picture, subplots
from ddpm_lesson.lesson.kit.images import contact_sheet, thumbnails


class Weighting(NamedTuple):
    """A weight for the squared error of each step, and how its share adds up."""

    weight: Tensor  # (T-1,) for t = 1 .. T-1
    share: Tensor  # (T-1,) of the total weight that lies at or below t


WEIGHT_LIMITS = {"eps": (1e-3, 1e3), "x0": (1e-9, 1e5)}


class LossWeights:
    """What each step counts in the bound and in L_simple, over t, and which share lies below t.

    Args:
        unit: what the squared error is an error of, ``"eps"`` or ``"x0"``.
    """

    def __init__(self, unit: str):
        self.unit = unit
        figure, (left, right) = subplots(3.5, 2, room=0.7)
        left.set(xscale="log", xlim=(0.9, 4500), yscale="log", ylim=WEIGHT_LIMITS[unit])
        right.set(xlim=(0, 101), ylim=(-0.03, 1.03), title="share of the total weight up to t")
        left.set_title(f"weight of the squared error of {unit}")
        left.set_xlabel("t (logarithmic)", labelpad=1)
        right.set_xlabel("t in percent of all steps", labelpad=1)
        self.weights, self.shares = curve_pair(left), curve_pair(right)
        self.marks = [axes.axvline(1, color=GREY, linewidth=1) for axes in (left, right)]
        key(left, {"solid: the bound": BLUE, "dashed: L_simple": ORANGE}, "lower left")
        self.live = LiveFigure(figure, [*self.weights, *self.shares, *self.marks], headline(figure))

    def draw(self, bound: Weighting, simple: Weighting, t: int, what: str) -> Picture:
        """The picture for two weightings of the same steps.

        Args:
            bound, simple: weights of the bound and of L_simple.
            t: where to read the share, 1 .. T-1.
            what: schedule, T and sigma in words.
        """
        times, evenly = (
            np.unique(spaced(1, len(bound.weight), 200).round().astype(int)) for spaced in (np.geomspace, np.linspace)
        )
        for weighting, weight, share in zip((bound, simple), self.weights, self.shares, strict=True):
            weight.set_data(times, weighting.weight.numpy()[times - 1])
            share.set_data(100 * evenly / len(bound.weight), weighting.share.numpy()[evenly - 1])
        for mark, x in zip(self.marks, (t, 100 * t / len(bound.weight)), strict=True):
            mark.set_xdata([x, x])
        first, second = (float(w.share[t - 1]) for w in (bound, simple))
        verdict = f"t = 1 .. {t} hold {first:.1%} of the weight in the bound, {second:.1%} in L_simple"
        here = f"{float(bound.weight[t - 1]):.2g} and {float(simple.weight[t - 1]):.2g}"
        alt = f"Weights of the squared error of {self.unit}, {what}: at t = {t} they are {here}; {verdict}"
        return self.live.picture(alt, verdict)


def curve_pair(axes: Axes) -> tuple[Line2D, Line2D]:
    """Empty curves for the bound and for L_simple."""
    (bound,) = axes.plot([], [], color=BLUE, linewidth=2)
    (simple,) = axes.plot([], [], color=ORANGE, linewidth=2, linestyle="--")
    return bound, simple


class NoiseCurves:
    """The learned eps_theta over x_t beside the exact E[eps | x_t], and where x_t is likely.

    Args:
        xt: (N,) values of x_t along the axis.
        n_times: axes beside each other, one a time.
    """

    def __init__(self, xt: Tensor, n_times: int = 1):
        self.xt = xt.numpy()
        figure, panes = subplots(3.4, n_times, room=0.44, sharey=True)
        figure.subplots_adjust(left=0.06, wspace=0.06)
        self.panes = [self.pane(axes) for axes in panes]
        panes[0].set_ylabel("noise", labelpad=1)
        for x, text, colour in ((0.06, "solid: exact", BLACK), (0.2, "dashed: learned", ORANGE)):
            figure.text(x, 0.92, text, color=colour)
        figure.text(0.38, 0.92, "thin, below: how likely x_t is", color=BLUE)
        self.live = LiveFigure(figure, [artist for pane in self.panes for artist in pane])

    def pane(self, axes: Axes) -> tuple:
        """The moving artists of one time: density, exact, learned, title."""
        axes.set(xlim=(self.xt[0], self.xt[-1]), ylim=(-3.2, 3.2), xlabel="x_t")
        (density,) = axes.plot([], [], color=BLUE, linewidth=1)
        (exact,) = axes.plot([], [], color=BLACK, linewidth=2)
        (learned,) = axes.plot([], [], color=ORANGE, linewidth=2, linestyle="--")
        title = axes.text(0.03, 0.97, "", transform=axes.transAxes, va="top", fontsize=10)
        return density, exact, learned, title

    def draw(self, curves: Sequence["NoiseCurve"]) -> Picture:
        """One curve a pane."""
        for (density, exact, learned, title), curve in zip(self.panes, curves, strict=True):
            density.set_data(self.xt, curve.density.numpy() / float(curve.density.max()) - 3.1)
            exact.set_data(self.xt, curve.exact.numpy())
            learned.set_data(self.xt, curve.learned.numpy())
            title.set_text(f"t = {curve.t}\nRMS error {curve.error:.3f}")
        each = "; ".join(f"t = {c.t}: root mean square error {c.error:.3f}" for c in curves)
        return self.live.picture(f"The learned noise over x_t against the exact E[eps | x_t]. {each}")


class NoiseCurve(NamedTuple):
    """What one pane of ``NoiseCurves`` shows; each (N,) over x_t."""

    t: int
    density: Tensor  # q(x_t)
    exact: Tensor
    learned: Tensor

    @property
    def error(self) -> float:
        """Root of the mean squared difference, x_t as likely as it is."""
        return float(((self.exact - self.learned) ** 2 * self.density).sum() / self.density.sum()) ** 0.5


def x0_guess_picture(x0: Tensor, xt: Tensor, x0_hat: Tensor, where: str) -> Picture:
    """Images over their noisy versions over the guesses from there, with the error of each guess below it.

    Args:
        x0, xt, x0_hat: (B, C, H, W) in [-1, 1]; what lies outside is cut off in the picture, not in the error.
        where: time and settings in words, for the name of the last row and the alternative text.
    """
    errors = (x0_hat - x0).flatten(1).square().mean(1).sqrt().tolist()
    rows = thumbnails({"x_0": x0, "x_t": xt, "x0_hat": x0_hat}, 104)
    sheet = contact_sheet(rows, [f"RMSE {error:.2f}" for error in errors], gap=10, below=True)
    mean = float((x0_hat - x0).square().mean().sqrt())
    alt = f"{len(x0)} images, their noisy versions and the guesses of the images, {where}: RMSE of all {mean:.3f}"
    return picture(sheet, alt)


def floor_picture(floor: Tensor, missed: Tensor) -> Picture:
    """The loss of a network over t: the floor, (T,), and on top of it what the network misses, (T,)."""
    figure, (axes,) = subplots(3.2)
    times = np.arange(len(floor))
    axes.fill_between(times, 0, floor, color=SKY, alpha=0.5, linewidth=0)
    axes.plot(times, floor, color=BLUE, linewidth=1.5)
    axes.plot(times, floor + missed, color=ORANGE, linewidth=1.5, linestyle="--")
    axes.set(xlabel="t", ylabel="loss", xlim=(0, len(floor) - 1), ylim=(0, None))
    key(axes, {"shaded: the floor": BLUE, "dashed: the learned network": ORANGE}, "upper right")
    at = ", ".join(f"{float(floor[t]):.2f} at {t}" for t in (0, len(floor) // 10, len(floor) // 2))
    alt = (
        f"The floor of the loss over t: {at}; the network's loss lies above it by {float(missed.mean()):.4f} on average"
    )
    return picture(figure, alt)


class BoundSummary(NamedTuple):
    """A bound and what it bounds, averaged over the data, in nats."""

    terms: Sequence[float]  # L_0, L_1, .. L_{T-1}, L_T
    sampled: float  # the bound by Monte Carlo, before anything is rearranged
    nll: float
    gap: float
    entropy: float  # of the data: the best that any model can reach


def bound_picture(summary: BoundSummary) -> Picture:
    """The terms climbing to the bound, beside the sampled bound and the negative log-likelihood with the gap on top."""
    figure, (axes,) = subplots(3.8, grid="")
    ends = np.cumsum(summary.terms)
    starts = ends - np.asarray(summary.terms)
    n, total = len(ends), float(ends[-1])
    places = [n + 1, n + 2.7, n + 4.4]
    axes.bar(range(n), summary.terms, bottom=starts, color=SKY, edgecolor=BLACK, linewidth=0.5)
    axes.bar(places[0], total, color=BLUE)
    axes.bar(places[1], summary.sampled, color=BLUE, hatch="//", edgecolor="white")
    axes.bar(places[2], summary.nll, color=GREEN)
    axes.bar(places[2], summary.gap, bottom=summary.nll, color=ORANGE, hatch="..", edgecolor="white")
    names = [f"L_{i}" for i in range(n - 1)] + ["L_T"]
    axes.set_xticks([*range(n), *places], [*names, "sum", "sampled\ndirectly", "-log p\n+ gap"])
    axes.axhline(0, color=BLACK, linewidth=0.8)
    axes.axhline(summary.entropy, color=GREY, linewidth=1, linestyle="--")
    axes.text(-0.4, summary.entropy + 0.03, "entropy of the data", color=GREY)
    for x, y in zip(places, (total, summary.sampled, summary.nll + summary.gap), strict=True):
        axes.text(x, y + 0.03, f"{y:.3f}", ha="center", weight="bold")
    axes.text(n + 4.95, summary.nll / 2, f"-log p\n{summary.nll:.3f}", color=GREEN, va="center")
    axes.text(n + 4.95, summary.nll + summary.gap / 2, f"gap {summary.gap:.3f}", color=ORANGE, va="center")
    axes.set(ylabel="nats", xlim=(-0.7, n + 6.8), ylim=(min(starts.min(), ends.min()) - 0.1, total + 0.25))
    alt = (
        f"Terms {', '.join(f'{name} {term:.3f}' for name, term in zip(names, summary.terms, strict=True))} add up to "
        f"{total:.3f} nats; sampled directly {summary.sampled:.3f}; the negative log-likelihood {summary.nll:.3f} plus "
        f"the gap {summary.gap:.3f} is {summary.nll + summary.gap:.3f}; entropy of the data {summary.entropy:.3f}"
    )
    return picture(figure, alt)


TRAINING = (
    r"$\mathbf{repeat}$",
    r"    take an image  $x_0$  from the data",
    r"    draw a time  $t \sim \mathrm{Uniform}\{1, \dots, T\}$",
    r"    draw noise  $\epsilon \sim \mathcal{N}(0, I)$",
    r"    mix  $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon$",
    r"    one gradient step on  $\|\epsilon - \epsilon_\theta(x_t, t)\|^2$",
    r"$\mathbf{until}$  it stops paying off",
)
SAMPLING = (
    r"draw  $x_T \sim \mathcal{N}(0, I)$",
    r"$\mathbf{for}$  $t = T, \dots, 1$",
    r"    draw  $z \sim \mathcal{N}(0, I)$;  at  $t = 1$  take  $z = 0$",
    r"    guess the noise  $\epsilon_\theta(x_t, t)$",
    r"    $x_{t-1} = \dfrac{1}{\sqrt{\alpha_t}} \left(x_t - \dfrac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\,"
    r"\epsilon_\theta(x_t, t)\right) + \sigma_t z$",
    r"$\mathbf{return}$  $x_0$",
)
ALGORITHMS_ALT = (
    "Two boxes. Training: repeat: take an image x0, draw a time t from 1 to T and noise eps, mix x_t from both, take "
    "one gradient step on the squared distance between eps and eps_theta(x_t, t). Sampling: draw x_T from noise; for t "
    "from T down to 1 draw fresh noise z (none at t = 1), guess the noise, and go to x_{t-1} = 1 / sqrt(alpha_t) "
    "(x_t - beta_t / sqrt(1 - alpha_bar_t) eps_theta) + sigma_t z; return x0"
)


def algorithms_picture() -> Picture:
    """Training and sampling as two boxes on a white card.

    Ho et al. 2020, Algorithms 1 and 2, in the paper's count of t.
    """
    figure = Figure(figsize=(WIDTH, 3.6), facecolor="white")
    boxes = (("Training", TRAINING, BLUE, 0.01, 0.445), ("Sampling", SAMPLING, ORANGE, 0.475, 0.515))
    for title, lines, colour, left, width in boxes:
        axes = figure.add_axes((left, 0.03, width, 0.94), xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=1.5)
        axes.axhspan(0.87, 1, color=colour)
        axes.text(0.03, 0.935, title, color="white", weight="bold", fontsize=13, va="center")
        for i, line in enumerate(lines):
            indent = 0.08 * line.startswith(" ")
            axes.text(0.03 + indent, 0.79 - 0.82 / len(lines) * i, line.strip(), fontsize=11, va="center")
        axes.set(xlim=(0, 1), ylim=(0, 1))
    return picture(figure, ALGORITHMS_ALT)

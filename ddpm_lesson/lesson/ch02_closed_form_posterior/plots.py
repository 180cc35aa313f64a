"""One step back: prior, likelihood and posterior on a line, and how close the exact step back is to a Gaussian."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.colours import BLUE, GREEN, GREY, LINES, ORANGE
from ddpm_lesson.lesson.kit.figure import WIDTH, LiveFigure, Picture, key, picture, subplots
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.schedule import NoiseSchedule


class Gaussian(NamedTuple):
    """A normal distribution on a line."""

    mean: float
    var: float

    @property
    def std(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.var)

    @property
    def precision(self) -> float:
        """1 / var."""
        return 1 / self.var if self.var else math.inf

    def curve(self, half_width: float = 5) -> tuple[np.ndarray, np.ndarray]:
        """The density, scaled to height 1; a needle if the variance is 0."""
        z = np.linspace(-half_width, half_width, 161)
        return self.mean + z * max(self.std, 1e-3), np.exp(-(z**2) / 2)


def posterior_parts(diffusion: DenoiseDiffusion, x0: float, xt: float, t: int) -> tuple[Gaussian, Gaussian, Gaussian]:
    """Prior q(x_{t-1} | x_0), likelihood q(x_t | x_{t-1}) as a function of x_{t-1}, and their posterior.

    Args:
        diffusion: the process.
        x0, xt: the two values that are known.
        t: code's time; at t = 0 the prior is x0 itself.
    """
    before, after, at = torch.tensor([[x0]]), torch.tensor([[xt]]), torch.tensor([t])
    prior = diffusion.q_xt_x0(before, at - 1) if t else (before, torch.zeros(1))
    alpha, beta = diffusion.alpha[t], diffusion.beta[t]
    likelihood = after / alpha.sqrt(), beta / alpha
    posterior = diffusion.q_posterior(before, after, at)
    return tuple(Gaussian(float(mean), float(var)) for mean, var in (prior, likelihood, posterior))


def time_in_words(t: int) -> str:
    """Code's time, and the paper's beside it."""
    return f"t = {t} (the paper's {t + 1})"


class PosteriorPlot:
    """Prior times likelihood is the posterior of x_{t-1}, all three scaled to height 1, with their numbers beside."""

    NAMES = ("prior", "likelihood", "posterior")
    FORMULAS = (r"$q(x_{t-1} \mid x_0)$", r"$q(x_t \mid x_{t-1})$", r"$q(x_{t-1} \mid x_t, x_0)$")
    LOOKS = ((GREEN, "--", 1.8), (ORANGE, ":", 2.4), (BLUE, "-", 2.6))

    def __init__(self):
        figure = Figure(figsize=(WIDTH, 3.6))
        axes = figure.add_axes((0.02, 0.15, 0.53, 0.83))
        axes.set(xlim=(-3.6, 3.6), ylim=(-0.22, 1.5), xlabel="$x_{t-1}$", yticks=[])
        axes.axhline(0, color=GREY, linewidth=0.8)
        self.curves, self.labels, self.rows = [], [], []
        for k, (name, formula, (color, line, width)) in enumerate(
            zip(self.NAMES, self.FORMULAS, self.LOOKS, strict=True)
        ):
            self.curves.append(axes.plot([], [], color=color, linestyle=line, linewidth=width)[0])
            self.labels.append(axes.text(0, 1.08 + 0.14 * k, name, color=color, fontsize=11, ha="center"))
            figure.text(0.575, 0.68 - 0.15 * k, f"{name}\n{formula}", color=color, fontsize=10.5, va="center")
            self.rows.append(figure.text(0.985, 0.68 - 0.15 * k, "", **MONO))
        figure.text(0.985, 0.82, "mean   std 1/var share", **MONO)
        figure.text(0.575, 0.22, "share: of the posterior's precision 1/var", fontsize=10.5)
        self.title = figure.text(0.575, 0.92, "", fontsize=12, weight="bold")
        self.points = [axes.plot([], [], marker="^", color=c, markersize=9, linestyle="")[0] for c in (GREEN, ORANGE)]
        self.names = [axes.text(0, -0.19, name, fontsize=11, ha="center") for name in ("$x_0$", "$x_t$")]
        self.live = LiveFigure(
            figure,
            [*self.curves, *self.labels, *self.rows, self.title, *self.points, *self.names],
        )

    def draw(self, parts: tuple[Gaussian, Gaussian, Gaussian], x0: float, xt: float, t: int) -> Picture:
        """The picture for prior, likelihood and posterior of ``posterior_parts``."""
        prior, _, posterior = parts
        share = posterior.var / prior.var if prior.var else 1.0  # of the precision, what the prior brings
        shares = (share, 1 - share, 1.0)
        for part, curve, label, row, part_share in zip(parts, self.curves, self.labels, self.rows, shares, strict=True):
            curve.set_data(*part.curve())
            row.set_text(f"{part.mean:.2f} {part.std:5.2f} {part.precision:5.1f} {part_share:5.0%}")
            label.set_x(float(np.clip(part.mean, -2.9, 2.9)))
        apart(self.labels)
        for point, name, x, other in zip(self.points, self.names, (x0, xt), (xt, x0), strict=True):
            point.set_data([x], [-0.05])
            name.set(x=x, ha="left" if x > other else "right")  # apart, however near the two values are
        self.title.set_text(time_in_words(t))
        said = ", ".join(
            f"{name} mean {part.mean:.2f} and std {part.std:.2f}" for name, part in zip(self.NAMES, parts, strict=True)
        )
        return self.live.picture(
            f"Three bell curves over x_prev for x0 = {x0:.1f}, xt = {xt:.1f}, {time_in_words(t)}: {said}; "
            f"the prior brings {share:.0%} of the precision"
        )


def apart(labels: Iterable[Text]) -> None:
    """Put each label just above its curve, and higher only where it would run into one before it."""
    placed: list[tuple[float, float]] = []
    for label in labels:
        x, y = label.get_position()[0], 1.05
        while any(abs(x - other) < 1.3 and y == height for other, height in placed):
            y += 0.13
        label.set_y(y)
        placed.append((x, y))


MONO = {"family": "monospace", "fontsize": 10.5, "ha": "right", "va": "center"}


def schedule_time(schedule: NoiseSchedule, alpha_bar_prev: float) -> int:
    """The time at which the step of a schedule starts from about ``alpha_bar_prev``."""
    return int((schedule.alpha_bar_prev - alpha_bar_prev).abs().argmin())


def peaks(density: np.ndarray) -> int:
    """Number of local maxima of a curve."""
    rising = np.diff(density) > 0
    return int((rising[:-1] & ~rising[1:]).sum())


def gap_in_words(nats: float) -> str:
    """What a divergence from the best Gaussian means for the eye."""
    if nats > 0.05:
        return "no Gaussian"
    return "almost a Gaussian" if nats > 1e-3 else "as good as a Gaussian"


class StepBackPlot:
    """The exact q(x_{t-1} | x_t) of a mixture: where it is, and beside it in its own units against its Gaussian fit."""

    def __init__(self, data: GaussianMixture, schedule: NoiseSchedule):
        self.data, self.schedule = data, schedule
        figure = Figure(figsize=(WIDTH, 3.7))
        left, right = figure.add_axes((0.02, 0.24, 0.46, 0.68)), figure.add_axes((0.52, 0.24, 0.46, 0.68))
        left.set(xlim=(-3, 3), ylim=(-0.2, 1.12), xlabel="$x_{t-1}$", yticks=[])
        left.axhline(0, color=GREY, linewidth=0.8)
        right.set(xlim=(-4, 4), ylim=(0, 1.0), yticks=[])
        right.set_xlabel("$x_{t-1}$ less its mean, in its standard deviations")
        left.set_title("where it is (each curve scaled to height 1)", fontsize=11)
        right.set_title("its shape", fontsize=11)
        (self.before,) = left.plot([], [], color=GREY, linestyle="-.", linewidth=1.5)
        (self.point,) = left.plot([], [], marker="^", color=GREY, markersize=9, linestyle="")
        (self.exact,) = left.plot([], [], color=BLUE, linewidth=2.4)
        (self.shape,) = right.plot([], [], color=BLUE, linewidth=2.4)
        z = np.linspace(-4, 4, 161)
        right.plot(z, np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi), color=ORANGE, linestyle="--", linewidth=1.8)
        key(left, {"$q(x_{t-1})$": GREY})
        key(left, {r"$q(x_{t-1} \mid x_t)$": BLUE}, "upper right")
        key(right, {"exact": BLUE})
        key(right, {"Gaussian fit": ORANGE}, "upper right")
        self.name = left.text(0, -0.13, "$x_t$", fontsize=11, va="center")
        self.verdict = right.text(0.02, 0.78, "", transform=right.transAxes, va="top", fontsize=11, weight="bold")
        figure.text(0.02, 0.03, f"The schedule's step from there (T = {schedule.n_steps}):", fontsize=11)
        self.paper = figure.text(0.43, 0.03, "", fontsize=11)
        self.live = LiveFigure(
            figure, [self.before, self.point, self.exact, self.shape, self.name, self.verdict, self.paper]
        )

    def draw(self, beta: float, xt: float, alpha_bar_prev: float) -> Picture:
        """The picture for one step back from ``xt``."""
        exact = self.data.step_back(xt, beta, alpha_bar_prev)
        gap, std = exact.gaussian_gap(), math.sqrt(exact.var)
        z = torch.linspace(-4, 4, 321, dtype=torch.float64)
        shape = (exact.prob(exact.mean + std * z) * std).numpy()
        x = torch.linspace(-3, 3, 241, dtype=torch.float64)
        before = self.data.noised(alpha_bar_prev).prob(x).numpy()
        self.before.set_data(x.numpy(), before / before.max())
        self.exact.set_data((exact.mean + std * z).numpy(), shape / shape.max())
        self.shape.set_data(z.numpy(), shape)
        self.point.set_data([xt], [-0.07])
        self.name.set_x(xt + 0.12)
        words = f"{gap_in_words(gap)}, {peaks(shape)} peak{'s' if peaks(shape) > 1 else ''}"
        self.verdict.set_text(f"KL = {gap:.1e} nats:\n{words}")
        paper = self.paper_words(xt, alpha_bar_prev)
        self.paper.set_text(paper)
        return self.live.picture(
            f"Exact step back for beta = {beta:.1e}, xt = {xt:.1f}, alpha_bar_prev = {alpha_bar_prev:.2f}: mean "
            f"{exact.mean:.2f}, std {std:.2f}, KL to its Gaussian fit {gap:.1e} nats: {words}. The schedule: {paper}"
        )

    def paper_words(self, xt: float, alpha_bar_prev: float) -> str:
        """How long the schedule's own step is there, and how far from Gaussian."""
        t = schedule_time(self.schedule, alpha_bar_prev)
        beta = float(self.schedule.beta[t])
        gap = self.data.step_back(xt, beta, alpha_bar_prev).gaussian_gap()
        return f"{time_in_words(t)}, beta = {beta:.1e}, KL = {gap:.0e} nats"


class Curve(NamedTuple):
    """A line and the point of it that its label stands at."""

    label: str
    x: Tensor
    y: Tensor
    place: int  # index of the point, neither the first nor the last


def curves_picture(
    panels: Iterable[tuple[str, str, str, Iterable[Curve]]], alt: str, *, xscale: str = "log", yscale: str = "linear"
) -> Picture:
    """Labelled curves, in one panel or several side by side.

    Args:
        panels: title, label of x, label of y, and the curves, at most four.
        alt: what is shown, in words.
        xscale, yscale: as in matplotlib.
    """
    panels = list(panels)
    figure, columns = subplots(3.4, len(panels))
    for axes, (title, xlabel, ylabel, curves) in zip(columns, panels, strict=True):
        axes.set(xscale=xscale, yscale=yscale, xlabel=xlabel, ylabel=ylabel)
        axes.set_title(title, fontsize=11)
        axes.margins(y=0.15)
        for curve, (color, line) in zip(curves, LINES, strict=False):
            axes.plot(curve.x, curve.y, color=color, linestyle=line, linewidth=2)
            write_label(axes, curve, color)
    return picture(figure, alt)


def write_label(axes: Axes, curve: Curve, color: str) -> None:
    """The name of a curve above one of its points, on the side where the curve is lower."""
    k = curve.place
    rising = curve.y[k + 1] > curve.y[k - 1]
    axes.annotate(
        curve.label,
        (float(curve.x[k]), float(curve.y[k])),
        (-6 if rising else 6, 6),
        textcoords="offset points",
        color=color,
        fontsize=10.5,
        ha="right" if rising else "left",
    )


def paths_picture(paths: Tensor, mean: Tensor, std: Tensor, alt: str) -> Picture:
    """Chains over time inside the band mean plus or minus two standard deviations.

    Args:
        paths: (T, B), one column a chain.
        mean, std: (T,).
        alt: what is shown, in words.
    """
    figure, (axes,) = subplots(3.4)
    t = np.arange(len(paths))
    thin = slice(None, None, -(-len(paths) // 250))  # finer than that nobody can see
    axes.plot(t[thin], paths[thin], color=BLUE, linewidth=0.8, alpha=0.6)
    axes.plot(t, mean, color=ORANGE, linewidth=2.5)
    axes.plot(t, torch.stack([mean - 2 * std, mean + 2 * std], 1), color=ORANGE, linewidth=1.8, linestyle="--")
    axes.set(xlabel="code's t", ylabel="$x_t$", xlim=(0, len(paths)))
    for name, wide in (("mean", 0), ("mean + 2 std", 2), ("mean - 2 std", -2)):
        y = float(mean[-1] + wide * std[-1])
        axes.text(1.005 * len(paths), y, name, color=ORANGE, va="center", fontsize=10.5)  # beside the curves
    return picture(figure, alt)

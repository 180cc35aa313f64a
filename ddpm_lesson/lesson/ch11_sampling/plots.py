"""The way back: states, steps, variances, paths and races."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator
from PIL import Image, ImageDraw
from torch import Tensor

from ddpm_lesson.lesson.ch11_sampling.race import Lap
from ddpm_lesson.lesson.kit.colours import BLACK, BLUE, GREEN, GREY, ORANGE
from ddpm_lesson.lesson.kit.figure import LiveFigure, Picture, headline, picture, stacked, subplots
from ddpm_lesson.lesson.kit.images import contact_sheet, noise_image, thumbnail, thumbnails
from ddpm_lesson.sample import ReverseStep

SIDE = 92  # pixels of an image
STYLES = {"beta": (ORANGE, "--", "o"), "posterior": (BLUE, "-", "s"), "ddim": (GREEN, ":", "^")}
NAMES = {"beta": "sigma² = beta", "posterior": "sigma² = beta_tilde", "ddim": "DDIM, eta = 0"}


def rms(x: Tensor) -> float:
    """Root mean square."""
    return float(x.square().mean().sqrt())


# States and steps


def state_picture(step: ReverseStep, before: ReverseStep | None, T: int, what: str) -> Picture:
    """One state of the reverse process: x_t, the estimate from there, and how the estimate has changed.

    Args:
        step: the state.
        before: the state to compare with; the first has none.
        T: number of diffusion steps of the model.
        what: what the images are, for the alternative text.
    """
    change = torch.zeros_like(step.x0_hat) if before is None else step.x0_hat - before.x0_hat
    rows = {"x_t": step.xt, "x0_hat": step.x0_hat, "change": noise_image(3 * change)}
    since = (
        "nothing to compare with yet" if before is None else f"since t = {before.t} x0_hat has moved {rms(change):.3f}"
    )
    alt = f"{what} at t = {step.t} of {T}: x_t, the guess x0_hat, and its change. {since}"
    captions = [f"t = {step.t}", *[""] * (len(step.xt) - 1)]
    return picture(contact_sheet(thumbnails(rows, SIDE), captions, gap=10), alt)


def step_picture(tensors: dict[str, Tensor], alt: str) -> Picture:
    """What one step computes, a row of images for each name; signed noise (a name with eps or z) in colours."""
    rows = {name: noise_image(x) if name.startswith(("eps", "sigma")) else x for name, x in tensors.items()}
    return rows_picture(rows, alt)


def rows_picture(rows: dict[str, Tensor], alt: str, captions: Sequence[str] = (), side: int = SIDE) -> Picture:
    """Batches of images, each a named row."""
    return picture(contact_sheet(thumbnails(rows, side), captions, gap=8), alt)


class ClipRun(NamedTuple):
    """What clipping does to a run."""

    times: list[int]
    largest: list[float]  # of |x0_hat|, at every time
    outside: list[float]  # share of the values of x0_hat beyond [-1, 1]

    @classmethod
    def of(cls, steps: Sequence[ReverseStep]) -> "ClipRun":
        """What the states of a run say."""
        sizes = [step.x0_hat.abs() for step in steps]
        outside = [float((size > 1).float().mean()) for size in sizes]
        return cls([step.t for step in steps], [float(size.max()) for size in sizes], outside)


def clip_picture(without: ClipRun) -> Picture:
    """How far the estimate leaves the range of the data when nothing clips it, over t."""
    figure, (left, right) = subplots(3.1, 2)
    left.semilogy(without.times, without.largest, color=ORANGE, linewidth=2)
    left.axhline(1, color=GREY, linewidth=1)
    left.text(0.02, 1.08, "data: at most 1", color=GREY, transform=left.get_yaxis_transform())
    left.set(xlabel="t (sampling goes to the right)", ylabel="largest |x0_hat|")
    right.plot(without.times, [100 * share for share in without.outside], color=ORANGE, linewidth=2)
    right.set(xlabel="t (sampling goes to the right)", ylabel="% of values beyond [-1, 1]", ylim=(0, 100))
    for axes in (left, right):
        axes.invert_xaxis()
    alt = (
        f"Without clipping: the largest |x0_hat| is {without.largest[0]:.1f} at t = {without.times[0]} and "
        f"{without.largest[-1]:.2f} at t = {without.times[-1]}; beyond [-1, 1] are {without.outside[0]:.0%} of the "
        f"values at first and {without.outside[-1]:.0%} at the end"
    )
    return picture(figure, alt)


# Variances


class StepVariances:
    """Over t, as shares of beta' of the shorter chain: the right variance for Gaussian data, and beta_tilde'."""

    def __init__(self):
        figure, (axes,) = subplots(3.5, room=0.65)
        axes.set_xscale("function", functions=(np.sqrt, np.square))
        axes.set(xlim=(0, 1020), ylim=(0, 2), ylabel="variance over beta'")
        axes.set_xticks([3, 20, 50, 100, 200, 400, 600, 800, 1000])
        axes.set_xlabel("t that the step leaves (the small ones drawn wider)", labelpad=1)
        axes.axhline(1, color=ORANGE, linestyle="--", linewidth=1.6)
        self.curves = [
            axes.plot([], [], color=colour, linestyle=line, marker=marker, markersize=size, linewidth=1.6)[0]
            for colour, line, marker, size in ((BLACK, "-", "D", 4), (BLUE, ":", "s", 5))
        ]
        for x, text, colour in (
            (0.075, "dashed: beta'", ORANGE),
            (0.22, "solid: right for data N(0, s²)", BLACK),
            (0.51, "dotted: beta_tilde'", BLUE),
        ):
            figure.text(x, 0.85, text, color=colour, fontsize=11)
        self.live = LiveFigure(figure, self.curves, headline(figure))

    def draw(self, times: Sequence[int], beta: Tensor, right: Tensor, beta_tilde: Tensor, std: float) -> Picture:
        """The picture for one number of steps.

        Args:
            times: visited, rising, (n,).
            beta, right, beta_tilde: variances of the step that leaves each of them; the first has beta_tilde 0.
            std: s, the standard deviation of the data.
        """
        for curve, values in zip(self.curves, (right, beta_tilde), strict=True):
            curve.set_data(times[1:], (values / beta).numpy()[1:])
        verdict = (
            f"{len(times)} steps, s = {std:.2g}: at t = {times[1]} the variance beta' is "
            f"{float(beta[1] / right[1]):.2f} times what is right"
        )
        ends = f"beta' {float(beta[1]):.2g}, right {float(right[1]):.2g}, beta_tilde' {float(beta_tilde[1]):.2g}"
        return self.live.picture(f"Variances of the steps back over beta', by t. {verdict}; there {ends}", verdict)


def excess_picture(ratios: dict[int, tuple[Sequence[int], Tensor]]) -> Picture:
    """Noise that x_t holds over the noise that it should hold, along chains of different lengths.

    ``ratios`` is number of steps -> times (rising) and the ratio of standard deviations there, (n,).
    """
    figure, (axes,) = subplots(3.2)
    looks = ((ORANGE, "--"), (BLUE, "-"), (GREEN, "-."), (GREY, "--"), (BLACK, ":"))
    for (n, (times, ratio)), (colour, line) in zip(ratios.items(), looks, strict=False):
        places = np.asarray(times) + 1
        axes.plot(places, ratio.numpy(), color=colour, linestyle=line, linewidth=2)
        axes.plot(places[:1], ratio.numpy()[:1], color=colour, marker="o")
        axes.annotate(f"{n} steps", (places[0], float(ratio[0])), (0, 7), textcoords="offset points", color=colour)
    axes.set(xlabel="t + 1 (logarithmic)", ylabel="noise that is there /\nnoise that should be", xscale="log")
    axes.axhline(1, color=GREY, linewidth=1)
    axes.set(ylim=(0.95, 1.95), xlim=(0.9, 1100))
    ends = ", ".join(f"{n} steps {float(ratio[0]):.2f} at t = {times[0]}" for n, (times, ratio) in ratios.items())
    return picture(figure, f"Standard deviation of the noise in x_t over the right one, sigma² = beta: {ends}")


# Paths and races


def paths_of_steps_picture(runs: dict[str, Sequence[ReverseStep]]) -> Picture:
    """Values on their way from noise to data, one pane a run; the end of the path is the last estimate."""
    figure, panes = subplots(3.2, len(runs), sharey=True)
    for axes, (name, steps) in zip(panes, runs.items(), strict=True):
        times = [step.t + 1 for step in steps] + [0]
        values = torch.stack([*(step.xt[:, 0] for step in steps), steps[-1].x0_hat[:, 0]])
        for i, path in enumerate(values.T.numpy()):
            axes.plot(times, path, color=(BLUE, ORANGE, GREEN)[i % 3], linewidth=1.2)
        axes.set(title=name, xlabel="t + 1", xlim=(1000, 0), ylim=(-2.6, 2.6))
        axes.title.set_fontsize(11)
    panes[0].set_ylabel("x_t")
    ends = "; ".join(
        f"{name}: ends at " + ", ".join(f"{x:.2f}" for x in steps[-1].x0_hat[:, 0].tolist())
        for name, steps in runs.items()
    )
    return picture(figure, f"Paths from noise on the left to data on the right. {ends}")


class Race(NamedTuple):
    """Laps of one race, for a pane of ``race_picture``."""

    title: str
    unit: str
    laps: Sequence[Lap]
    floor: float | None = None  # what data have in the place of samples
    floor_name: str = "exact draws"


def race_picture(races: Sequence[Race]) -> Picture:
    """Distance against network evaluations, both logarithmic, a pane for each race."""
    figure, panes = subplots(3.7, len(races), which="both")
    for axes, race in zip(panes, races, strict=True):
        race_pane(axes, race)
    for name, (colour, line, marker) in STYLES.items():
        panes[0].plot([], [], color=colour, linestyle=line, marker=marker, label=NAMES[name])
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return picture(figure, " ".join(race_in_words(race) for race in races))


def race_pane(axes: Axes, race: Race) -> None:
    """One race in its axes."""
    for name, (colour, line, marker) in STYLES.items():
        laps = sorted((lap.n_steps, lap.distance) for lap in race.laps if lap.sampler == name)
        n_steps, distances = [n for n, _ in laps], [distance for _, distance in laps]
        axes.loglog(n_steps, distances, color=colour, linestyle=line, marker=marker, markersize=6, linewidth=2)
    steps = sorted({lap.n_steps for lap in race.laps})
    if race.floor:
        axes.axhline(race.floor, color=GREY, linewidth=1)
        axes.text(steps[0], race.floor, race.floor_name, color=GREY, va="bottom", fontsize=9)
    axes.set(title=race.title, xlabel="network evaluations", ylabel=race.unit)
    axes.title.set_fontsize(10.5)
    axes.set_xticks(steps, [str(n) for n in steps], fontsize=9)
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def race_in_words(race: Race) -> str:
    """Every number of a race; samplers that have not run are left out."""
    rows = [
        f"{NAMES[name]} "
        + ", ".join(f"{lap.distance:.3g} with {lap.n_steps}" for lap in race.laps if lap.sampler == name)
        for name in STYLES
        if any(lap.sampler == name for lap in race.laps)
    ]
    floor = f"; {race.floor_name} {race.floor:.3g}" if race.floor else ""
    return f"{race.title}, {race.unit} by steps: {'; '.join(rows)}{floor}."


# Between images, and into the hidden part


def mix_picture(
    ends: Sequence[Tensor], xt: Tensor, x0_hat: Tensor, weights: Sequence[float], at: int, alt: str
) -> Picture:
    """Two images, a mix of their noisy versions, and what comes out; below, what comes out of all weights.

    Args:
        ends: the two images, (C, H, W) each.
        xt, x0_hat: mixes and results, (B, C, H, W), one a weight.
        weights: (B,).
        at: index of the weight to show large.
        alt: what is shown, in words.
    """
    large = [thumbnail(x, 190) for x in (ends[0], xt[at], x0_hat[at], ends[1])]
    captions = ["image a", f"x_t, weight {weights[at]:.1f} on b", "back from there", "image b"]
    top = contact_sheet({"": large}, captions)
    small = [framed(thumbnail(x, 68), ORANGE if i == at else "white") for i, x in enumerate(x0_hat)]
    return picture(stacked(top, contact_sheet({"": small}, [f"{w:.1f}" for w in weights], gap=2)), alt)


def framed(image: Image.Image, colour: str, width: int = 3) -> Image.Image:
    """An image with a frame drawn over its edge."""
    ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline=colour, width=width)
    return image


def completions_picture(known: Tensor, mask: Tensor, completions: Tensor, alt: str) -> Picture:
    """An image, what is known of it (the rest in orange), and completions.

    Args:
        known: the image, (C, H, W).
        mask: True where it is known, of the same shape.
        completions: (B, C, H, W).
        alt: what is shown, in words.
    """
    seen = known.expand(3, -1, -1).clone()
    hidden = ~mask.expand(3, -1, -1)
    orange = torch.tensor([0.67, -0.27, -1.0]).view(3, 1, 1).expand_as(seen)
    seen[hidden] = orange[hidden]
    images = {"": [thumbnail(x, 100) for x in (known, seen, *completions)]}
    captions = ["the image", "known", *(f"{i + 1}" for i in range(len(completions)))]
    return picture(contact_sheet(images, captions, gap=8), alt)

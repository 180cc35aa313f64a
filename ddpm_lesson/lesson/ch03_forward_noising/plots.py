"""Schedules, and images on their way into noise."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from ddpm_lesson.lesson.kit.colours import BLUE, GREY, LINES
from ddpm_lesson.lesson.kit.figure import SCALE, LiveFigure, Picture, headline, picture, stacked, subplots
from ddpm_lesson.lesson.kit.images import contact_sheet, noise_image, thumbnails
from ddpm_lesson.pictures import grid_image
from ddpm_lesson.schedule import NoiseSchedule


class SchedulePlot:
    """beta, alpha_bar and signal-to-noise of a schedule over a strip of noised images.

    Args:
        reference: the schedule to compare with, drawn as a thin dashed line.
    """

    def __init__(self, reference: NoiseSchedule):
        figure, axes = subplots(3.1, 3, room=0.65)
        self.curves = [curve_axes(a, *labels) for a, labels in zip(axes, SCHEDULE_AXES, strict=True)]
        for a, values in zip(axes, series(reference), strict=True):
            a.plot(*thinned(values), color=GREY, linewidth=1, linestyle="--")
        self.verdict = headline(figure)
        self.live = LiveFigure(figure, [*self.curves, self.verdict])

    def draw(self, schedule: NoiseSchedule, times: Sequence[int], xt: Tensor, bits: float) -> Picture:
        """The picture for one schedule.

        Args:
            schedule: what the curves show.
            times: of the images in the strip.
            xt: (len(times), C, H, W) in [-1, 1]; what lies outside is clipped.
            bits: L_T in bits per dimension.
        """
        for curve, values in zip(self.curves, series(schedule), strict=True):
            curve.set_data(*thinned(values))
        self.verdict.set_text(f"L_T = {bits:.2g} bits/dim: {verdict(bits)}")
        ends = f"beta {float(schedule.beta[0]):.1e} to {float(schedule.beta[-1]):.1e}"
        alt = (
            f"Schedule {schedule.settings['kind']}, T = {schedule.n_steps}, {ends}: alpha_bar ends at "
            f"{float(schedule.alpha_bar[-1]):.1e}, signal-to-noise falls from {float(schedule.snr_db[0]):.0f} to "
            f"{float(schedule.snr_db[-1]):.0f} dB, L_T = {bits:.2g} bits/dim: {verdict(bits)}"
        )
        strip = contact_sheet(thumbnails({"": xt}, 128), [f"t = {t}" for t in times])
        return picture(stacked(self.live.image(), strip), alt, SCALE)


SCHEDULE_AXES = (
    ("beta", (1e-6, 1.2), "log"),
    ("alpha_bar  (dashed: the paper's)", (-0.03, 1.03), "linear"),
    ("signal-to-noise in dB", (-95, 65), "linear"),
)


def series(schedule: NoiseSchedule) -> tuple[Tensor, Tensor, Tensor]:
    """What the three curves show."""
    return schedule.beta, schedule.alpha_bar, schedule.snr_db


def curve_axes(axes: Axes, title: str, limits: tuple[float, float], scale: str) -> Line2D:
    """Label axes over t / T and return the curve that will move in them."""
    axes.set(title=title, xlim=(0, 1), yscale=scale, ylim=limits)
    axes.set_xlabel("t / T", labelpad=1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    return axes.plot([], [], color=BLUE, linewidth=2)[0]


def thinned(values: Tensor, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """At most ``n`` points of a curve over (t + 1) / T."""
    keep = np.unique(np.linspace(0, len(values) - 1, n).round().astype(int))
    return (keep + 1) / len(values), values.numpy()[keep]


def verdict(bits: float) -> str:
    """What L_T means for sampling, in words."""
    if bits < 1e-4:
        return "the end is noise, and sampling may start from noise"
    if bits < 3e-3:
        return "the end is almost noise, a trace of the image is left"
    return "the end still shows the image, noise is a wrong start for sampling"


def xt_picture(x0: Tensor, eps: Tensor, one_shot: Tensor, chain: Tensor, caption: str, alt: str) -> Picture:
    """x_0, eps, x_t in one shot and x_t by the chain, side by side; each (1, C, H, W).

    Args:
        caption: stands over x_t, such as "0.80 x_0 + 0.60 eps".
        alt: what is shown, in words.
    """
    images = [grid_image(x, min_side=200) for x in (x0, noise_image(eps), one_shot, chain)]
    return picture(contact_sheet({"": images}, ["x_0", "eps", caption, "x_t step by step"]), alt)


def noise_strip(rows: dict[str, Tensor], times: Sequence[int]) -> Picture:
    """Images drowning in noise: a row for each name, a column for x_0 and one for each time.

    Args:
        rows: name -> (1 + len(times), C, H, W), of which the first is x_0.
        times: of the others.
    """
    captions = ["x_0", *(f"t = {t}" for t in times)]
    alt = f"Images on their way into noise, at {', '.join(captions)}; a row each for {', '.join(rows)}"
    return picture(contact_sheet(thumbnails(rows, 128), captions, gap=10), alt, SCALE)


def schedules_picture(schedules: Mapping[str, NoiseSchedule]) -> Picture:
    """Signal-to-noise of several schedules over t, and where each of them falls below 0 dB."""
    figure, (axes,) = subplots(3.4)
    ends = []
    for (name, schedule), (colour, dashes) in zip(schedules.items(), LINES, strict=False):
        snr_db, t = schedule.snr_db.numpy(), even(schedule)
        axes.plot(snr_db, color=colour, linestyle=dashes, linewidth=2, label=f"{name}: 0 dB at t = {t}")
        axes.plot(t, snr_db[t], "o", color=colour)
        ends.append(f"{name} is below 0 dB from t = {t} and ends at {snr_db[-1]:.0f} dB")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="t", ylabel="signal-to-noise in dB", ylim=(-92, 48))
    axes.legend(loc="lower left", frameon=False)
    return picture(figure, f"Signal-to-noise over t: {'; '.join(ends)}")


def even(schedule: NoiseSchedule) -> int:
    """The first t in code at which there is more noise than signal."""
    return int((schedule.alpha_bar < 0.5).to(int).argmax())

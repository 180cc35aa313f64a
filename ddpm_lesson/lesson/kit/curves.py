"""Curves that several notebooks draw: losses beside each other, samples on the line."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lesson.lesson.kit.figure import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PINK, SKY, Picture, picture
from ddpm_lesson.pictures import running_average

COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, GREY, BLACK)


STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)), (0, (3, 3)))


def losses_picture(losses: Mapping[str, Sequence[float]], smoothing: float = 0.9) -> Picture:
    """Running averages of several training losses on one plot.

    Args:
        losses: name -> the loss of every step.
        smoothing: weight of the past.
    """
    figure = Figure(figsize=(8.8, 3.8), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour, style in zip(losses.items(), COLOURS, STYLES, strict=False):
        axes.plot(running_average(values, smoothing), color=colour, linestyle=style, linewidth=2, label=name)
    axes.axhline(1, color=GREY, linewidth=1)
    axes.text(len(values), 0.96, "guessing no noise", color=GREY, ha="right", va="top")
    axes.set(xlabel="training step", ylabel="loss (running average)", yscale="log")
    axes.set_yticks([0.1, 0.2, 0.3, 0.5, 1], ["0.1", "0.2", "0.3", "0.5", "1"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(ncols=2)
    ends = ", ".join(f"{name} {running_average(values, smoothing)[-1]:.2f}" for name, values in losses.items())
    return picture(figure, f"Training loss over {len(values)} steps, running averages at the end: {ends}")


def samples_picture(samples: Tensor, x: Tensor, density: Tensor) -> Picture:
    """A histogram of samples under the density they should have; ``x`` and ``density`` are (N,)."""
    figure = Figure(figsize=(8.8, 3), layout="constrained")
    axes = figure.subplots()
    axes.hist(samples.numpy(), bins=80, range=(float(x[0]), float(x[-1])), density=True, color=SKY)
    axes.plot(x.numpy(), density.numpy(), color=BLACK, linewidth=2)
    axes.set(xlabel="x_0", ylabel="density", xlim=(float(x[0]), float(x[-1])))
    axes.text(0.02, 0.93, "line: the data's density", transform=axes.transAxes, va="top")
    axes.text(0.02, 0.83, f"bars: {len(samples):,} samples", color=BLUE, transform=axes.transAxes, va="top")
    mean, std = float(samples.mean()), float(samples.std())
    alt = f"Histogram of {len(samples)} samples, mean {mean:.2f} and standard deviation {std:.2f}, under the density"
    return picture(figure, alt)

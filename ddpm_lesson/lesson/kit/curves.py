"""Curves that several notebooks draw: losses beside each other, samples on the line."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ddpm_lesson.lesson.kit.colours import BLACK, BLUE, GREY, LINES, SKY
from ddpm_lesson.lesson.kit.figure import Picture, key, picture, subplots
from ddpm_lesson.pictures import running_average


def losses_picture(losses: Mapping[str, Sequence[float]], smoothing: float = 0.9) -> Picture:
    """Running averages of several training losses on one plot.

    Args:
        losses: name -> the loss of every step.
        smoothing: weight of the past.
    """
    figure, (axes,) = subplots(3.8)
    for (name, values), (colour, style) in zip(losses.items(), LINES, strict=False):
        axes.plot(running_average(values, smoothing), color=colour, linestyle=style, linewidth=2, label=name)
    axes.axhline(1, color=GREY, linewidth=1)
    axes.text(len(values), 0.96, "guessing no noise", color=GREY, ha="right", va="top")
    axes.set(xlabel="training step", ylabel="loss (running average)", yscale="log")
    axes.set_yticks([0.1, 0.2, 0.3, 0.5, 1], ["0.1", "0.2", "0.3", "0.5", "1"])
    axes.minorticks_off()
    axes.legend(ncols=2)
    ends = ", ".join(f"{name} {running_average(values, smoothing)[-1]:.2f}" for name, values in losses.items())
    return picture(figure, f"Training loss over {len(values)} steps, running averages at the end: {ends}")


def samples_picture(samples: Tensor, x: Tensor, density: Tensor) -> Picture:
    """A histogram of samples under the density they should have; ``x`` and ``density`` are (N,)."""
    figure, (axes,) = subplots(3, grid="")
    axes.hist(samples.numpy(), bins=80, range=(float(x[0]), float(x[-1])), density=True, color=SKY)
    axes.plot(x.numpy(), density.numpy(), color=BLACK, linewidth=2)
    axes.set(xlabel="x_0", ylabel="density", xlim=(float(x[0]), float(x[-1])))
    key(axes, {"line: the data's density": BLACK, f"bars: {len(samples):,} samples": BLUE})
    mean, std = float(samples.mean()), float(samples.std())
    alt = f"Histogram of {len(samples)} samples, mean {mean:.2f} and standard deviation {std:.2f}, under the density"
    return picture(figure, alt)

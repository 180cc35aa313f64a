"""Curves over training."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ddpm_lesson.plots.core import BLUE, ORANGE


def loss_figure(steps: Sequence[int], losses: Sequence[float], smoothing: float = 0.9) -> Figure:
    """The training loss over optimiser steps, with its running average.

    Args:
        steps, losses: points of the curve.
        smoothing: weight of the past in the running average.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses, color=BLUE, alpha=0.35, linewidth=1, label="loss")
    axes.plot(steps, running_average(losses, smoothing), color=ORANGE, linewidth=2, label="running average")
    axes.set(xlabel="optimiser step", ylabel="loss $L_{simple}$", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure


def running_average(values: Sequence[float], smoothing: float) -> list[float]:
    """Exponential average without start-up bias."""
    average, weight, out = 0.0, 0.0, []
    for value in values:
        average = smoothing * average + (1 - smoothing) * value
        weight = smoothing * weight + (1 - smoothing)
        out.append(average / weight)
    return out

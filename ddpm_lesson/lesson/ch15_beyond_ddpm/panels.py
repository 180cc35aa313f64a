"""Solvers that step along a known path, and guidance whose scale slides."""

import torch

from ddpm_lesson.lesson.ch15_beyond_ddpm import experiments as ex
from ddpm_lesson.lesson.ch15_beyond_ddpm.plots import GuidancePlot, SolverPlot
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS
from ddpm_lesson.lesson.kit.panel import Panel, choice, stops

RANKS = torch.tensor([0.02, 0.1, 0.25, 0.38, 0.42, 0.5, 0.7, 0.9, 0.98], dtype=torch.float64)


def show_solvers(counts: tuple[int, ...] = (2, 3, 5, 8, 12, 20)) -> Panel:
    """Paths of nine points by solver and number of steps, over the exact ones; all drawn beforehand."""
    model = ex.perfect()
    bars, times = model.alpha_bar.tolist(), list(range(999, -1, -9))
    exact = torch.stack([*(TWO_BUMPS.noised(bars[t]).quantile(RANKS) for t in times), TWO_BUMPS.quantile(RANKS)])
    plot, runs = SolverPlot(times, exact), {}
    for name, (steps, cost) in ex.SOLVERS.items():
        for n in counts:
            states = list(steps(model, (len(RANKS), 1), n, start=exact[0][:, None]))
            error = float((states[-1].x0_hat.flatten() - exact[-1]).square().mean().sqrt())
            runs[name, n] = states, name, cost * n - (cost - 1), error

    def draw(solver: str, n_steps: int) -> Picture:
        return plot.draw(*runs[solver, n_steps])

    return Panel(
        "Where does a solver leave the path, and what do its extra questions buy?",
        draw,
        solver=choice("solver", ex.SOLVERS),
        n_steps=stops("steps", counts, counts[2]),
    )


def show_guidance(scales: tuple[float, ...] = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8)) -> Panel:
    """Guided samples of one of two overlapping classes, by scale."""
    plot = GuidancePlot()
    ends = {scale: ex.guided_ends(scale) for scale in scales}
    return Panel(
        "What does the scale do to the samples of a class, and is it what the formula seems to say?",
        lambda scale: plot.draw(scale, ends[scale]),
        scale=stops("scale", scales, 3 if 3 in scales else scales[0]),
    )

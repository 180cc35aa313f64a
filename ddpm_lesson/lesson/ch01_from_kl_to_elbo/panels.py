"""From the KL divergence to the ELBO."""

from collections.abc import Callable

import torch

from ddpm_lesson.lesson.ch01_from_kl_to_elbo.plots import GapPlot, KLPlot
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.panel import Panel, choice, slider
from ddpm_lesson.lesson.kit.quadrature import BENT, STRAIGHT, TWO_PEAKS, both_kl

MODELS = {"straight: z": STRAIGHT, "bent: z squared": BENT}
SEEN = 2.0  # the x of show_elbo_gap


def show_kl() -> Panel:
    """Move a Gaussian q over a target p with two peaks: both divergences and their integrands."""
    x = torch.linspace(-4, 4, 401, dtype=torch.float64)
    log_p = TWO_PEAKS.log_prob(x)
    plot = KLPlot(x, log_p.exp())

    def draw(mean: float, std: float) -> Picture:
        log_q = log_normal(x, mean, std**2)
        ratio = log_p - log_q
        return plot.draw(
            mean, std, log_q.exp(), (log_p.exp() * ratio, -log_q.exp() * ratio), both_kl(TWO_PEAKS, mean, std)
        )

    return Panel(
        "Which q makes KL(p ∥ q) smallest? And which one KL(q ∥ p)?",
        draw,
        mean=slider("mean of q", -2.5, 2.5, 0.5, 0.05),
        std=slider("std of q", 0.3, 2.5, 0.7, 0.05),
    )


def elbo_gap() -> Callable[[str, float, float], Picture]:
    """Draws, for a decoder and the mean and standard deviation of q(z | x), how ELBO and gap share log p(x)."""
    z = torch.linspace(-3, 3, 401, dtype=torch.float64)
    plot = GapPlot(z, log_normal(z, 0.0, 1.0).exp())

    def draw(decoder: str, mean: float, std: float) -> Picture:
        model = MODELS[decoder]
        q = log_normal(z, mean, std**2).exp()
        posterior = (model.log_joint(SEEN, z) - model.log_evidence(SEEN)).exp()
        return plot.draw(mean, std, q, posterior, model.elbo(SEEN, mean, std), model.gap(SEEN, mean, std))

    return draw


def show_elbo_gap() -> Panel:
    """Move q(z | x) over the true posterior: log p(x) stays, ELBO and gap share it."""
    return Panel(
        f"The model has seen x = {SEEN}. How small can you make the gap, with each decoder?",
        elbo_gap(),
        decoder=choice("decoder", MODELS),
        mean=slider("mean of q", -2.0, 2.0, 0.5, 0.02),
        std=slider("std of q", 0.18, 1.5, 0.8, 0.01),
    )

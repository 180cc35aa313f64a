"""One step back, and whether it is Gaussian."""

from torch import nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch02_closed_form_posterior.plots import PosteriorPlot, StepBackPlot, posterior_parts
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.lesson.kit.panel import Panel, log_slider, slider
from ddpm_lesson.schedule import NoiseSchedule


def show_posterior(schedule: NoiseSchedule) -> Panel:
    """Prior times likelihood is the posterior of x_{t-1}, on a line.

    Args:
        schedule: few large steps show more than many small ones.
    """
    diffusion, plot = DenoiseDiffusion(nn.Identity(), schedule=schedule), PosteriorPlot()
    return Panel(
        "x_0 is known and x_t is seen. Where was x one step earlier, and whom does the answer believe, x_0 or x_t?",
        lambda x0, xt, t: plot.draw(posterior_parts(diffusion, x0, xt, t), x0, xt, t),
        x0=slider("x_0", -2.0, 2.0, 1.2, 0.1),
        xt=slider("x_t", -2.5, 2.5, -1.0, 0.1),
        t=slider("t", 0, schedule.n_steps - 1, schedule.n_steps // 3),
    )


def show_is_it_gaussian(data: GaussianMixture, schedule: NoiseSchedule) -> Panel:
    """The exact step back without x_0, against the Gaussian that fits it best.

    Args:
        data: what x_0 is drawn from.
        schedule: whose steps to compare with.
    """
    plot = StepBackPlot(data, schedule)
    return Panel(
        "How small must a step of noise be, so that undoing it is a Gaussian affair?",
        plot.draw,
        beta=log_slider("beta", -4, -0.05, 10**-0.3),
        xt=slider("x_t", -2.0, 2.0, 0.0, 0.1),
        alpha_bar_prev=slider("alpha_bar_prev", 0.05, 0.95, 0.9, 0.05),
    )

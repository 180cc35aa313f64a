"""What notebook 03 builds: a schedule that meets given ends."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.bound import prior_bits
from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.schedule import NoiseSchedule

ENDS = ((7, 0.99, 0.01), (100, 0.9999, 4e-5), (1000, 0.9999, 4e-5), (2, 0.6, 0.2))  # n_steps, first, last


def schedule(n_steps, first, last):
    """beta (T,) of a schedule whose alpha_bar runs from first to last, with equal steps in decibels."""
    ends = torch.tensor([first, last], dtype=torch.float64)
    log_snr = torch.log(ends / (1 - ends))
    way = torch.linspace(0, 1, n_steps, dtype=torch.float64)
    alpha_bar = torch.sigmoid(log_snr[0] + way * (log_snr[1] - log_snr[0]))
    alpha_bar_prev = torch.cat((torch.ones(1), alpha_bar[:-1]))
    return 1 - alpha_bar / alpha_bar_prev


def bars(beta: Tensor) -> Tensor:
    """alpha_bar of a beta, float64."""
    return torch.log1p(-beta.double()).cumsum(0).exp()


def variances(built: Callable[..., Any]) -> str | None:
    """Whether every beta is a variance between 0 and 1."""
    for n_steps, first, last in ENDS:
        beta = built(n_steps, first, last)
        finding = unlike(beta, (n_steps,))
        if finding or beta.dtype != torch.float64:
            return finding or f"BUILT gave {beta.dtype}; early on alpha_bar is so close to 1 that it takes float64."
        if not ((beta > 0) & (beta < 1)).all():
            return (
                f"For {n_steps} steps from {first} to {last} BUILT gave beta from {float(beta.min()):.3g} to "
                f"{float(beta.max()):.3g}; each must lie between 0 and 1."
            )
    return None


def ends(built: Callable[..., Any]) -> str | None:
    """Where alpha_bar begins and ends, to a thousandth of itself."""
    for n_steps, first, last in ENDS:
        bar = bars(built(n_steps, first, last))
        for name, at, wanted in (("first", 0, first), ("last", -1, last)):
            share = float((bar[at] / wanted if wanted < 0.5 else (1 - bar[at]) / (1 - wanted)).log())
            if not abs(share) < 2e-3:
                return (
                    f"For {n_steps} steps the {name} alpha_bar of BUILT is {float(bar[at]):.6g}; asked for: {wanted}."
                )
    return None


def equal_steps(built: Callable[..., Any]) -> str | None:
    """Whether every step takes the same number of decibels."""
    for n_steps, first, last in ENDS:
        bar = bars(built(n_steps, first, last))
        lost = -(10 * torch.log10(bar / (1 - bar))).diff()
        share, worst = lost.sum() / (n_steps - 1), int((lost - lost.mean()).abs().argmax())
        if not abs(lost[worst] - share) < 0.02 * share + 0.01:
            return (
                f"Of {n_steps} steps, all should lose {float(share):.3g} dB; with BUILT step {worst + 1} loses "
                f"{float(lost[worst]):.3g} dB."
            )
    return None


def package_takes_it(built: Callable[..., Any]) -> str | None:
    """Whether a quarter of the steps is enough: the end is noise for the package's own measure, at 50 and 250 steps."""
    for n_steps in (50, 250):
        made = NoiseSchedule.from_betas(built(n_steps, 0.9999, 4e-5).tolist())
        leak = float(prior_bits(made, torch.ones(1, 1, 2, 3)).mean())
        if not leak < 4e-5:
            return (
                f"With {n_steps} steps of BUILT the end leaks {leak:.2g} bits/dim; the paper's 1000 steps leak 2.9e-05."
            )
    return None


build_schedule = Build(
    schedule,
    [
        Stage(
            variances,
            r"From $\bar\alpha$ to $\beta$: what does one step keep of what the step before has left?",
            r"$\beta_t = 1 - \bar\alpha_t / \bar\alpha_{t-1}$ with $\bar\alpha_0 = 1$, in float64.",
        ),
        Stage(
            ends,
            "Choose alpha_bar for every step before you think of beta: its first value is `first`, its last is `last`.",
            r"The product of all $1 - \beta$ up to a step is its alpha_bar, so the first beta is `1 - first`.",
        ),
        Stage(
            equal_steps,
            r"Which number falls along a straight line if every step loses the same number of decibels?",
            r"$\ln(\bar\alpha / (1 - \bar\alpha))$: take it at both ends, go along a line, and come back with "
            "`torch.sigmoid`.",
        ),
        Stage(
            package_takes_it,
            "The numbers are right for some lengths only. Does anything in the function know a certain `n_steps`?",
            "`torch.linspace(start, end, n_steps)`, and nothing else that counts steps.",
        ),
    ],
    "Whatever the number of steps, both ends stay where they are: 50 steps end in noise as 1000 do, which the paper's "
    "beta could not. No step loses more decibels than another.",
)

"""What notebook 02 says it found, and how to find it anew. No chance enters but in the walks, so most need one seed."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.lesson.ch02_closed_form_posterior.proofs import average_gap
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.sample import forward_steps

BOOK = ClaimBook(2)
claim = BOOK.claim
DATA = GaussianMixture(weights=[0.6, 0.4], means=[-0.8, 1.1], stds=[0.25, 0.15])
SCHEDULE = NoiseSchedule.linear().to(torch.float64)
A = SCHEDULE.alpha_bar_prev.sqrt() * SCHEDULE.beta / SCHEDULE.one_minus_alpha_bar
B = SCHEDULE.alpha.sqrt() * SCHEDULE.one_minus_alpha_bar_prev / SCHEDULE.one_minus_alpha_bar
HERE = torch.linspace(-2, 2, 81).tolist()


@claim("About 5 % of the points may lie outside", low=0.02, high=0.1, seeds=range(4))
def share_of_points_outside(seed):
    diffusion = DenoiseDiffusion(nn.Identity())
    x0 = torch.full((200, 1), 2.0)
    steps = torch.stack(list(forward_steps(diffusion, x0, torch.Generator().manual_seed(100 + seed))))[..., 0]
    steps = steps[-1000:]  # without x_0 itself
    mean, var = diffusion.q_xt_x0(torch.full((1000, 1), 2.0), torch.arange(1000))
    return ((steps - mean).abs() > 2 * var.sqrt()).float().mean()


@claim("The first *two* steps of a thousand", low=2, high=2, seeds=(0,))
def steps_led_by_the_image(seed):
    return int((A > B).sum())


@claim("At the paper's $t = 11$, $x_t$ has six times the weight already", low=5.5, high=6.5, seeds=(0,))
def weights_at_11(seed):
    return B[10] / A[10]


@claim("by less than a seventh of the posterior's standard deviation", high=1 / 7, seeds=(0,))
def shift_by_the_slip(seed):
    bars = A * (torch.cat([torch.ones(1), SCHEDULE.alpha[:-1]]) / SCHEDULE.alpha_bar_prev).sqrt()
    return ((bars - A).abs()[1:] / SCHEDULE.beta_tilde.sqrt()[1:]).max()


@lru_cache
def half_way(slipped: bool) -> float:
    """The state after 500 mean steps back from 0, for x_0 = 1."""
    x, alpha_before = 0.0, torch.cat([torch.ones(1), SCHEDULE.alpha[:-1]])
    for t in reversed(range(500, 1000)):
        x0_coef = A[t] * (alpha_before[t] / SCHEDULE.alpha_bar_prev[t]).sqrt() if slipped else A[t]
        x = float(x0_coef + B[t] * x)
    return x


@claim("half-way the right mean is 0.28", low=0.275, high=0.285, seeds=(0,))
def right_mean_half_way(seed):
    return half_way(False)


@claim("slipped one 1.89", low=1.885, high=1.895, seeds=(0,))
def slipped_mean_half_way(seed):
    return half_way(True)


@claim("1.7 times the standard deviation that $x_t$ has there by (2.6)", low=1.65, high=1.75, seeds=(0,))
def slip_in_standard_deviations(seed):
    return (half_way(True) - half_way(False)) / float(SCHEDULE.one_minus_alpha_bar[499].sqrt())


def peaks(xt: float, beta: float) -> int:
    """Number of peaks of the exact step back from ``xt`` at alpha_bar_prev = 0.9."""
    p = DATA.step_back(xt, beta, 0.9).prob(torch.linspace(-3, 3, 6001, dtype=torch.float64))
    return int(((p[1:-1] > p[:-2]) & (p[1:-1] > p[2:])).sum())


def largest_gap(beta: float, alpha_bar_prev: float = 0.9) -> float:
    """KL of the step back to its Gaussian fit, the largest over x_t, in nats."""
    return max(float(DATA.step_back(xt, beta, alpha_bar_prev).gaussian_gap()) for xt in HERE)


@claim("At $x_t = 0$ the second peak is gone below $\\beta = 0.08$", low=1, high=1, seeds=(10, 40, 79))
def peaks_at_0(seed):
    return peaks(0.0, seed / 1000)


@claim("at $x_t = 0.2$ it takes $\\beta = 0.03$", low=2, high=2, seeds=(40, 60, 79))
def peaks_at_a_fifth_for_larger_steps(seed):
    return peaks(0.2, seed / 1000)


@claim("the KL divergence is at most two thousandths of a nat wherever you stand", high=2e-3, seeds=(0,))
def miss_of_a_hundredth(seed):
    return largest_gap(0.01)


@claim("from there it is at most three hundred-thousandths", high=3e-5, seeds=(0,))
def miss_of_the_schedule(seed):
    t = int((SCHEDULE.alpha_bar_prev - 0.9).abs().argmin())
    return largest_gap(float(SCHEDULE.beta[t]))


@claim("With $\\bar\\alpha_{t-1} = 0.5$ steps of the same size come closer to a Gaussian", high=0.99, seeds=(0,))
def miss_at_half_noise(seed):
    return max(largest_gap(beta, 0.5) / largest_gap(beta) for beta in (0.01, 0.03, 0.1, 0.3, 0.5))


def total(n: int) -> Tensor:
    """Nats that Gaussian steps miss in a schedule of n steps, without the first."""
    fine = NoiseSchedule.linear(n, beta_start=0.1 / n, beta_end=20 / n).to(torch.float64)
    steps = zip(fine.beta[1:].tolist(), fine.alpha_bar_prev[1:].tolist(), strict=True)
    return torch.tensor([average_gap(DATA, beta, bar) for beta, bar in steps]).sum()


@claim("Each time a little more than a quarter is left", low=0.25, high=0.32, seeds=(50, 100, 200), slow=True)
def share_left_by_twice_the_steps(seed):
    return total(2 * seed) / total(seed)

"""What notebook 04 finds by trying: floors of the loss, bounds of a perfect network, and a network trained anew."""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch04_noise_prediction.proofs import mean_gain
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS
from ddpm_lesson.schedule import NoiseSchedule

LINE = torch.linspace(-6, 6, 1201, dtype=torch.float64)


def line_schedule() -> NoiseSchedule:
    """The 200 steps of section 8."""
    return NoiseSchedule.linear(200, beta_start=0.0005, beta_end=0.1)


def floors(schedule: NoiseSchedule) -> Tensor:
    """The least squared error of eps for every t, (T,): 1 - E[E[eps | x_t]^2], for the two bumps."""
    known = [
        torch.trapezoid(TWO_BUMPS.noised(a).prob(LINE) * TWO_BUMPS.exact_eps(LINE, a) ** 2, LINE)
        for a in schedule.to(torch.float64).alpha_bar.tolist()
    ]
    return 1 - torch.stack(known)


@torch.no_grad()
def missed(eps_model: nn.Module, schedule: NoiseSchedule) -> Tensor:
    """The squared distance of a network's answers to the exact noise of the two bumps, for every t: (T,)."""
    distances = []
    for t, alpha_bar in enumerate(schedule.to(torch.float64).alpha_bar.tolist()):
        answer = eps_model(LINE[:, None].float(), torch.full((len(LINE),), t))[:, 0]
        square = (answer - TWO_BUMPS.exact_eps(LINE, alpha_bar)) ** 2
        distances.append(torch.trapezoid(TWO_BUMPS.noised(alpha_bar).prob(LINE) * square, LINE))
    return torch.stack(distances)


def perfect_bound(schedule: NoiseSchedule, sigma: str) -> float:
    """The bound of the perfect network on the two bumps in nats, equation (4.2) with (4.6) and the floors put in.

    Args:
        schedule: of any number of steps.
        sigma: ``"beta"``, ``"posterior"`` (beta at step 0), or ``"best"``, the constants with the least bound.
    """
    s = schedule.to(torch.float64)
    missed = mean_gain(s.alpha, s.alpha_bar) * floors(s)  # E of the squared distance between the means
    best = s.beta_tilde + missed  # where the derivative of (4.2) by sigma^2 is 0
    posterior = torch.cat((s.beta[:1], s.beta_tilde[1:]))
    sigma2 = {"beta": s.beta, "posterior": posterior, "best": best}[sigma]
    L_0 = 0.5 * ((2 * math.pi * sigma2[0]).log() + missed[0] / sigma2[0])
    L_t = 0.5 * ((sigma2 / s.beta_tilde).log() + best / sigma2 - 1)[1:]
    end = s.alpha_bar[-1]
    L_T = 0.5 * (end * (TWO_BUMPS.var + TWO_BUMPS.mean**2) - end - (-end).log1p())
    return float(L_0 + L_t.sum() + L_T)


class TinyNoise(nn.Module):
    """The network of section 8."""

    def __init__(self, width: int = 64):
        super().__init__()
        first, middle, last = nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.layers = nn.Sequential(first, nn.Tanh(), middle, nn.Tanh(), last)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """(B, 1), (B,) -> (B, 1)."""
        return self.layers(torch.cat((8 * xt, torch.log(t[:, None] + 1) - 2), dim=1))


@lru_cache(maxsize=8)
@torch.enable_grad()
def trained(seed: int, n_steps: int = 2000, batch: int = 512) -> DenoiseDiffusion:
    """Section 8's training with another seed for weights, data, times and noise; the global seed stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        diffusion = DenoiseDiffusion(TinyNoise(), schedule=line_schedule(), clip_x0=False)
        optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-2)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        for _ in range(n_steps):
            optimizer.zero_grad()
            diffusion.loss(TWO_BUMPS.sample(batch).float()[:, None]).backward()
            optimizer.step()
            decay.step()
    return diffusion

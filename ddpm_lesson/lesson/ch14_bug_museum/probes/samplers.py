"""Probes: do steps, losses and samples do what the formula says?"""

import torch
from torch import Tensor

from ddpm_lesson import diffusion, schedule
from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.ch14_bug_museum.probes.subjects import SHORT, Knows, Probe, Says, plain, randn, short
from ddpm_lesson.lesson.kit.mixture import ExactNoise, GaussianMixture
from ddpm_lesson.lesson.kit.probe import fresh_generator
from ddpm_lesson.sample import steps

DATA = GaussianMixture((0.4, 0.6), (-0.6, 0.5), (0.1, 0.1))  # what the sampler's oracle draws from
NORMAL = GaussianMixture((1.0,), (0.0,), (1.0,))


def bayes(x0: Tensor, xt: Tensor, t: int) -> Tensor:
    """Mean of q(x_{t-1} | x_t, x_0), t > 0, from the product of two Gaussians."""
    beta, alpha_bar = plain(**SHORT)
    forward, prior = (1 - beta[t]) / beta[t], 1 / (1 - alpha_bar[t - 1])  # precisions of x_{t-1}
    weighted = (1 - beta[t]) ** 0.5 * xt / beta[t] + alpha_bar[t - 1] ** 0.5 * x0 * prior
    return weighted / (forward + prior)


def posterior(seed: int = 0) -> Finding:
    """Is the mean of the posterior what Bayes says, and x0 at the first step?"""
    d, x0, xt = short(), randn(seed, 4, 1), randn(seed + 100, 4, 1)
    for t in (0, 1, 10, 19):
        right = bayes(x0, xt, t) if t else x0
        off = float((d.q_posterior(x0, xt, torch.full((4,), t))[0] - right).abs().max())
        if not off < 1e-4:
            return Finding(False, f"at t = {t} the posterior's mean is off by {off:.2g}")
    return Finding(True, "the posterior's mean is that of Bayes")


def ddpm_step(seed: int = 0) -> Finding:
    """Is a step, given its noise and its estimate, mean + sigma noise?"""
    d, x0, xt = short(), randn(seed, 4, 1).clamp(-1, 1), randn(seed + 100, 4, 1)
    beta, _ = plain(**SHORT)
    for t in (1, 10, 19):
        right = bayes(x0, xt, t) + beta[t] ** 0.5 * randn(seed + 200, 4, 1)
        made = d.p_sample(xt, torch.full((4,), t), x0_hat=x0, generator=fresh_generator(seed + 200))
        if not float((made - right).abs().max()) < 1e-4:
            return Finding(False, f"at t = {t} a step of DDPM is off by {float((made - right).abs().max()):.2g}")
    return Finding(True, "a step of DDPM is Bayes' mean and sigma times noise")


def last_step(seed: int = 0) -> Finding:
    """Is the last step's result its estimate, without noise?"""
    d, x0, xt = short(), randn(seed, 64, 1).clamp(-1, 1), randn(seed + 100, 64, 1)
    t = torch.zeros(64, dtype=torch.long)
    one, other = (d.p_sample(xt, t, x0_hat=x0, generator=fresh_generator(seed + i)) for i in (1, 2))
    if not torch.equal(one, other):
        return Finding(False, f"the last step adds noise of {float((one - other).std()) / 2**0.5:.2g}")
    off = float((one - x0).abs().max())
    return Finding(off < 1e-4, f"the last step ends {off:.2g} away from its estimate")


def ddim_formula(seed: int = 0) -> Finding:
    """Does DDIM, at the times that it visits, do what its formula says? The network is eager, so that clipping acts."""
    _, alpha_bar = plain(**SHORT)
    xt = start = randn(seed, 8, 1)
    made = list(steps.ddim_steps(short(Says(0.5)), (8, 1), 6, start=start))
    for step, later in zip(made, [*made[1:], None], strict=True):
        a = alpha_bar[step.t]
        x0 = ((xt - (1 - a) ** 0.5 * 0.5 * xt) / a**0.5).clamp(-1, 1)
        off = max(float((step.xt - xt).abs().max()), float((step.x0_hat - x0).abs().max()))
        if not off < 1e-4:
            return Finding(False, f"at t = {step.t} DDIM is off its formula by {off:.2g}")
        if later is not None:
            b = alpha_bar[later.t]
            xt = b**0.5 * x0 + (1 - b) ** 0.5 * (xt - a**0.5 * x0) / (1 - a) ** 0.5
    return Finding(True, "DDIM follows its formula")


def known_law(n_steps: int | None, name: str, most: float) -> Probe:
    """Do samples of a perfect network have the law of the data?"""

    def probe(seed: int = 0) -> Finding:
        chain = schedule.NoiseSchedule.linear(60, 1e-3, 0.25)
        d = diffusion.DenoiseDiffusion(ExactNoise(DATA, chain), schedule=chain, sigma="posterior")
        start = NORMAL.quantile((torch.arange(1000) + 0.5) / 1000).float()[:, None]  # x_T, evenly
        if n_steps is None:
            path = steps.ddpm_steps(d, (1000, 1), fresh_generator(seed), start=start)
        else:
            path = steps.ddim_steps(d, (1000, 1), n_steps, start=start)
        samples = steps.final_samples(path)
        off = DATA.distance(samples) if samples.isfinite().all() else torch.inf
        return Finding(off < most, f"samples by {name} lie {off:.3f} from the law of the data, for at most {most}")

    return probe


def perfect_guess(seed: int = 0) -> Finding:
    """Does a network that knows the noise pay nothing, and one that says nothing pay 1?"""
    eps, t = randn(seed, 4096, 1), torch.zeros(4096, dtype=torch.long)
    d = short()
    known, zero = short(Knows(eps)).loss(torch.full_like(eps, 0.5), eps, t), d.loss(torch.full_like(eps, 0.5), eps, t)
    sentence = f"who knows the noise pays {float(known):.3f}, who says nothing {float(zero):.3f}"
    return Finding(bool(known < 1e-6 and abs(zero - 1) < 0.1), sentence)

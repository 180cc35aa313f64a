"""Noise prediction: what the loss weighs, and what a network guesses."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ddpm_lesson.bound import loss_weights
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch04_noise_prediction.plots import (
    LossWeights,
    NoiseCurve,
    NoiseCurves,
    Weighting,
    x0_guess_picture,
)
from ddpm_lesson.lesson.kit.figure import Picture, noted
from ddpm_lesson.lesson.kit.mixture import ExactNoise, GaussianMixture
from ddpm_lesson.lesson.kit.panel import Panel, choice, slider, stops
from ddpm_lesson.sample import eval_mode
from ddpm_lesson.schedule import KINDS, NoiseSchedule

T_STOPS = (10, 20, 50, 100, 200, 500, 1000, 2000, 4000)
SHARE_STOPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 700, 900, 990, 998, 1000, 2000)


def weighting(weight: Tensor) -> Weighting:
    """A weight of t = 1 .. T-1 with its shares; step 0 is L_0 and has no such weight."""
    return Weighting(weight[1:], weight[1:].cumsum(0) / weight[1:].sum())


def show_loss_weights() -> Panel:
    """What every step counts in the bound and in L_simple."""
    plots = {"eps": LossWeights("eps"), "x0": LossWeights("x0")}

    def draw(kind: str, T: int, sigma: str, unit: str, t: int) -> Picture:
        note = f"t must be at most T - 1 = {T - 1}; got {t}. Shown instead: t = {T - 1}." if t >= T else ""
        schedule = NoiseSchedule.from_settings({"kind": kind, "n_steps": T}).to(torch.float64)
        scale = schedule.snr if unit == "x0" else torch.ones(T, dtype=torch.float64)
        bound, simple = weighting(loss_weights(schedule, sigma) * scale), weighting(scale)
        what = f"schedule {kind}, T = {T}, sigma^2 = {sigma}"
        return noted(plots[unit].draw(bound, simple, min(t, T - 1), what), note)

    return Panel(
        "Which steps does the bound care about most, and what changes when the weight is dropped?",
        draw,
        kind=choice("schedule", KINDS),
        T=stops("T", T_STOPS, 1000),
        sigma=choice("sigma^2", ("beta", "posterior")),
        unit=choice("error of", ("eps", "x0")),
        t=stops("t", SHARE_STOPS, 50),
    )


def show_x0_guess(diffusion: DenoiseDiffusion, x0: Tensor) -> Panel:
    """One-step guesses of the images from x_t, as t moves.

    Args:
        diffusion: a trained model.
        x0: images that it has not seen, (B, C, H, W) in [-1, 1].
    """
    x0 = x0.to(diffusion.device)

    @lru_cache(maxsize=256)
    def guess(t: int, seed: int) -> tuple[Tensor, Tensor]:
        times = torch.full((len(x0),), t, device=x0.device)
        eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(x0)
        xt = diffusion.q_sample(x0, times, eps)
        with torch.no_grad():
            return xt, diffusion.predict_x0(xt, times, eval_mode(diffusion).eps_model(xt, times))

    def draw(t: int, clip: str, seed: int) -> Picture:
        xt, x0_hat = guess(t, seed)
        x0_hat = x0_hat.clamp(-1, 1) if clip == "yes" else x0_hat
        where = f"t = {t} of {diffusion.n_steps}, noise {seed}, {'' if clip == 'yes' else 'not '}clipped to [-1, 1]"
        return x0_guess_picture(x0.cpu(), xt.cpu(), x0_hat.cpu(), where)

    return Panel(
        "How much noise can the network see through in one step, and what does it guess when it cannot?",
        draw,
        t=slider("t", 0, diffusion.n_steps - 1, diffusion.n_steps // 4),
        clip=choice("clip the guess", ("yes", "no")),
        seed=slider("seed of noise", 0, 9, 0),
    )


def show_learned_noise(diffusion: DenoiseDiffusion, data: GaussianMixture, times: Sequence[int]) -> Panel:
    """A network trained on a mixture against the exact answer, over x_t, as t moves.

    Args:
        diffusion: the model; it is asked about points (B, 1).
        data: what it was trained on.
        times: for the static picture, about four.
    """
    xt = torch.linspace(-3, 3, 241)
    exact = ExactNoise(data, diffusion.schedule)
    alpha_bar = diffusion.schedule.to(torch.float64).alpha_bar.tolist()

    def curve(t: int) -> NoiseCurve:
        batch = xt[:, None].to(diffusion.device), torch.full((len(xt),), t, device=diffusion.device)
        with torch.no_grad():
            learned = eval_mode(diffusion).eps_model(*batch)[:, 0].cpu()
        return NoiseCurve(t, data.noised(alpha_bar[t]).prob(xt), exact(xt, torch.full((len(xt),), t)), learned)

    plot = NoiseCurves(xt)
    return Panel(
        "Where does the network know the noise, and where has it never looked?",
        lambda t: plot.draw([curve(t)]),
        static=NoiseCurves(xt, len(times)).draw([curve(t) for t in times]),
        t=slider("t", 0, diffusion.n_steps - 1, times[0]),
    )

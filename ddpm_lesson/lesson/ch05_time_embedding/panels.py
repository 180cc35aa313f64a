"""The time embedding: clock hands, and a network that is told a wrong time."""

from functools import lru_cache

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch05_time_embedding.experiments import turn_steps
from ddpm_lesson.lesson.ch05_time_embedding.plots import ClockPlot, told_picture
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.panel import Panel, slider, stops
from ddpm_lesson.sample import eval_mode
from ddpm_lesson.unet import TimeEmbedding

SIZES = (8, 16, 24, 32, 64, 128)  # base widths of a U-Net, which are numbers of sinusoids


def show_clocks(n_steps: int = 1000) -> Panel:
    """The sinusoids of a time as clock hands, as a vector, and against all other times."""

    @lru_cache
    def plot(n: int) -> ClockPlot:
        embedding = TimeEmbedding(4 * n)
        return ClockPlot(embedding.sinusoids(torch.arange(n_steps)), turn_steps(embedding))

    return Panel(
        "Which hands tell t from t + 1, and which tell early from late?",
        lambda t, n: plot(n).draw(t),
        t=slider("t", 0, n_steps - 1, n_steps // 4),
        n=stops("n_channels", SIZES, 32),
    )


def show_told_time(diffusion: DenoiseDiffusion, x0: Tensor) -> Panel:
    """One-step guesses of the images by a network that is told a wrong time.

    Only the network is deceived: its noise is turned into x0_hat with the true t.

    Args:
        diffusion: a trained model.
        x0: images that it has not seen, (B, C, H, W) in [-1, 1].
    """
    x0 = x0.to(diffusion.device)

    @lru_cache(maxsize=256)
    def guess(t: int, told: int, seed: int) -> tuple[Tensor, Tensor, float]:
        eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(x0)
        true_t, told_t = (torch.full((len(x0),), i, device=x0.device) for i in (t, told))
        xt = diffusion.q_sample(x0, true_t, eps)
        with torch.no_grad():
            said = eval_mode(diffusion).eps_model(xt, told_t)
        x0_hat = diffusion.predict_x0(xt, true_t, said).clamp(-1, 1)
        return xt, x0_hat, float((said - eps).square().mean())

    def draw(t: int, told: int, seed: int) -> Picture:
        results = {s: guess(t, s, seed) for s in (t, told)}
        guesses, errors = ({s: r[k] for s, r in results.items()} for k in (1, 2))
        return told_picture(x0.cpu(), results[t][0].cpu(), {s: g.cpu() for s, g in guesses.items()}, errors, seed)

    last = diffusion.n_steps - 1
    return Panel(
        "Does the network believe its eyes or the clock?",
        draw,
        t=slider("true t", 0, last, last // 4),
        told=slider("told t", 0, last, last // 10),
        seed=slider("seed of noise", 0, 9, 0),
    )

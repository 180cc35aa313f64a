"""Evaluation: the decoder's bytes, the bits of the bound, and the Frechet distance of images made worse."""

from functools import cache, lru_cache

import torch
from torch import Tensor

from ddpm_lesson.bound import decoder_log_likelihood
from ddpm_lesson.data import ImageDataset, from_bytes
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.evaluate import Moments, expected_floor, extractor, features_of, gaussian_frechet, moments
from ddpm_lesson.lesson.ch12_evaluation.degrade import KINDS, degraded
from ddpm_lesson.lesson.ch12_evaluation.plots import (
    BitsLedger,
    DecoderPlot,
    FrechetCurves,
    FrechetPlot,
    RateDistortionPlot,
)
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.panel import Panel, choice, log_slider, slider, stops
from ddpm_lesson.sample import eval_mode

TIMES = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 400, 500, 700, 850, 999)
SIZES = (70, 100, 150, 200, 300, 500, 1000)
LIMITS = {"classifier": (0.5, 1000), "pixels": (0.1, 100), "random": (1e-4, 0.5)}
N_REFERENCE = 797  # real images to compare with; the rest of the digits are for the sets


def show_decoder() -> Panel:
    """What a byte costs under the discretised decoder."""
    x0 = from_bytes(torch.arange(256)).double()
    plot = DecoderPlot()

    def draw(mean: float, std: float, byte: int) -> Picture:
        mu, var = torch.tensor(mean).double(), torch.tensor(std).double() ** 2
        mass = decoder_log_likelihood(x0, mu, var).exp()
        density = torch.distributions.Normal(mu, var.sqrt()).log_prob(x0).exp() * 2 / 255
        return plot.draw(mass, density, byte, f"mean {mean:.2f}, standard deviation {std:.3g}")

    return Panel(
        "What does a byte cost, and what happens at the two ends?",
        draw,
        mean=slider("mean", -1.2, 1.2, 0.9, 0.05),
        std=log_slider("std", -3, 0, 0.1),
        byte=slider("byte", 0, 255, 255),
    )


def show_bits_ledger(ledgers: dict[str, tuple[Tensor, float]]) -> Panel:
    """Where the bits of the bound are spent.

    Args:
        ledgers: name of a model -> its terms (T,), index 0 being L_0, and L_T; bits per dimension.
    """
    plots = {scale: BitsLedger(scale) for scale in ("log", "linear")}

    def draw(model: str, scale: str, t: int) -> Picture:
        L_t, L_T = ledgers[model]
        return plots[scale].draw(L_t, L_T, min(t, len(L_t) - 1), model)

    return Panel(
        "Which steps cost the bits: those that decide what is to be seen, or those that nobody sees?",
        draw,
        model=choice("model", ledgers),
        scale=choice("scale", plots),
        t=stops("t", TIMES, 100),
    )


def show_rate_distortion(diffusion: DenoiseDiffusion, x0: Tensor, rate: Tensor, rmse: Tensor) -> Panel:
    """What a receiver sees who has got the message down to step t.

    Args:
        diffusion: a trained model.
        x0: images that it has not seen, (B, C, H, W) in [-1, 1].
        rate, rmse: (T,), see ``rate_distortion``.
    """
    plot = RateDistortionPlot(rate, rmse, x0)

    @lru_cache(maxsize=256)
    def guess(t: int, seed: int) -> tuple[Tensor, Tensor]:
        times = torch.full((len(x0),), t, device=diffusion.device)
        eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed))
        xt = diffusion.q_sample(x0.to(diffusion.device), times, eps.to(diffusion.device))
        with torch.no_grad():
            return xt.cpu(), eval_mode(diffusion).denoise(xt, times).cpu()

    def draw(t: int, seed: int) -> Picture:
        return plot.draw(t, *guess(t, seed), f"noise {seed}")

    return Panel(
        "How few bits are enough to know which digit it is?",
        draw,
        t=stops("t", TIMES, 200),
        seed=slider("seed of noise", 0, 9, 0),
    )


def show_frechet(dataset: ImageDataset) -> Panel:
    """The Frechet distance of real images made worse, over their number.

    Args:
        dataset: 8 x 8 digits with labels, in random order; the first ``N_REFERENCE`` are what the others are compared
            with.
    """
    real, pool = dataset[:N_REFERENCE], dataset[N_REFERENCE:]
    labels = dataset.labels[N_REFERENCE:]
    plots = {name: FrechetPlot(SIZES, limits) for name, limits in LIMITS.items()}

    @cache
    def reference(name: str) -> tuple[Moments, list[float]]:
        """Moments of the real images, and the floor to expect at every size."""
        seen = moments(features_of(extractor(name, dataset.shape), real))
        return seen, [float(expected_floor(seen.cov, N_REFERENCE, n)) for n in SIZES]

    @lru_cache(maxsize=128)
    def worse(kind: str, amount: float) -> Tensor:
        return degraded(pool, labels, kind, amount, torch.Generator().manual_seed(0))

    @lru_cache(maxsize=128)
    def distances(name: str, kind: str, amount: float) -> list[float]:
        features = features_of(extractor(name, dataset.shape), worse(kind, amount))
        features = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(1))]
        return [float(gaussian_frechet(*reference(name)[0], *moments(features[:n]))) for n in SIZES]

    def draw(kind: str, amount: float, features: str, n: int) -> Picture:
        real_ones = distances(features, "noise", 0.0)
        curves = FrechetCurves(distances(features, kind, amount), real_ones, reference(features)[1])
        return plots[features].draw(curves, worse(kind, amount)[:36], n, f"{kind} {amount:.1f}, {features}")

    return Panel(
        "How bad must images be before the Frechet distance notices, and how many do you need to tell?",
        draw,
        kind=choice("made worse by", KINDS),
        amount=slider("amount", 0.0, 1.0, 0.3, 0.1),
        features=choice("features", LIMITS),
        n=stops("N", SIZES, 200),
    )

"""Part 3: a wrong formula in the place of the right one is caught."""

import math

import pytest
import torch

from ddpm_lesson.lesson.ch03_forward_noising.proofs import end_bits, prove, short_diffusion

ALPHA, ALPHA_BAR = short_diffusion().alpha, short_diffusion().alpha_bar
WRONG = {
    "alpha for alpha_bar": ("3.1", lambda x0, t: (ALPHA[t].sqrt() * x0, 1 - ALPHA[t])),
    "standard deviation for variance": ("3.1", lambda x0, t: (ALPHA_BAR[t].sqrt() * x0, (1 - ALPHA_BAR[t]).sqrt())),
    "root of alpha_bar missing": ("3.1", lambda x0, t: (ALPHA_BAR[t] * x0, 1 - ALPHA_BAR[t])),
    "a hundredth too much noise": ("3.1", lambda x0, t: (ALPHA_BAR[t].sqrt() * x0, 1.01 * (1 - ALPHA_BAR[t]))),
    "a little too bright": ("3.1", lambda x0, t: (ALPHA_BAR[t].sqrt() * x0 + 0.001, 1 - ALPHA_BAR[t])),
    "a hundredth of a decibel": ("3.3", lambda alpha_bar: 10 * torch.log10(alpha_bar / (1 - alpha_bar)) + 0.01),
    "one percent of the decibels": ("3.3", lambda alpha_bar: 10.1 * torch.log10(alpha_bar / (1 - alpha_bar))),
    "one thousandth more beta": ("3.4", lambda T, t: 1.001 * (1e-4 + (0.02 - 1e-4) * (t - 1) / (T - 1))),
    "another offset": ("3.6", lambda u, s: torch.cos((u + 0.009) / 1.009 * math.pi / 2) ** 2),
    "a shift of the cosine": ("3.6", lambda u, s: torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2 + 1e-6),
    "noise forgotten in the variance": ("3.2", lambda var0, alpha_bar: alpha_bar * var0),
    "root of alpha_bar in the variance": ("3.2", lambda var0, alpha_bar: alpha_bar.sqrt() * var0 + 1 - alpha_bar),
    "decibels of amplitudes": ("3.3", lambda alpha_bar: 20 * torch.log10(alpha_bar / (1 - alpha_bar))),
    "noise over signal": ("3.3", lambda alpha_bar: 10 * torch.log10((1 - alpha_bar) / alpha_bar)),
    "t for t - 1": ("3.4", lambda T, t: 1e-4 + (0.02 - 1e-4) * t / (T - 1)),
    "T for T - 1": ("3.4", lambda T, t: 1e-4 + (0.02 - 1e-4) * (t - 1) / T),
    "second order forgotten": ("3.5", lambda T, mean, mean_square: -T * mean),
    "square of the mean": ("3.5", lambda T, mean, mean_square: -T * (mean + mean**2 / 2)),
    "cosine without its square": ("3.6", lambda u, s: torch.cos((u + s) / (1 + s) * math.pi / 2)),
    "cosine without its offset": ("3.6", lambda u, s: torch.cos(u * math.pi / 2) ** 2),
    "nats for bits": ("3.7", lambda x0, a: end_bits(x0, a) * math.log(2)),
    "data of power 1": ("3.7", lambda x0, a: -0.5 * math.log1p(-a) / math.log(2)),
    "sum for mean": ("3.7", lambda x0, a: end_bits(x0 * x0.numel() ** 0.5, a)),
    "mean for mean square": ("3.7", lambda x0, a: end_bits(x0.mean(), a)),
    "power for amplitude": ("3.8", lambda snr_db, scale: snr_db + 10 * math.log10(scale)),
    "scale without effect": ("3.8", lambda snr_db, scale: snr_db),
}


PLANTED = list(WRONG.values())


@pytest.mark.parametrize(("number", "formula"), PLANTED, ids=WRONG)
def test_planted_error_is_caught(number, formula):
    assert not prove(number, formula=formula).holds

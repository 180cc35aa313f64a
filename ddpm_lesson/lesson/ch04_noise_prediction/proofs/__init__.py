"""Notebook 04: the target of every step rewritten as the noise, the loss that this gives, and the bound put together.

Formulas that sympy checks are plain functions of numbers or symbols. Code counts t = 0 .. T-1.
"""

from ddpm_lesson.lesson.ch04_noise_prediction.proofs.guesses import (
    BOOK,
    eps_from_x0,
    ledger,
    mean_from_eps,
    prove,
    x0_from_eps,
)
from ddpm_lesson.lesson.ch04_noise_prediction.proofs.loss import mean_gain, signal_to_noise
from ddpm_lesson.lesson.ch04_noise_prediction.proofs.perfect import bump_chain, exact_reverse, noise_by_slope

__all__ = [
    "BOOK",
    "bump_chain",
    "eps_from_x0",
    "exact_reverse",
    "ledger",
    "mean_from_eps",
    "mean_gain",
    "noise_by_slope",
    "prove",
    "signal_to_noise",
    "x0_from_eps",
]

"""Proofs of notebook 02: from one step of noise to the posterior that undoes it.

A time t is code's: t = 0 .. T-1 is the paper's step t+1. Everything is in float64 and nats.
"""

from ddpm_lesson.lesson.ch02_closed_form_posterior.proofs.forward import BOOK, DATA, FINE, STEPS, ledger, prove
from ddpm_lesson.lesson.ch02_closed_form_posterior.proofs.posterior import posterior_coefficients
from ddpm_lesson.lesson.ch02_closed_form_posterior.proofs.step_back import (
    average_gap,
    gaussian_entropies,
    step_entropy,
    teachers_average,
)

__all__ = [
    "BOOK",
    "DATA",
    "FINE",
    "STEPS",
    "average_gap",
    "gaussian_entropies",
    "ledger",
    "posterior_coefficients",
    "prove",
    "step_entropy",
    "teachers_average",
]

"""Executable proofs: every numbered equation of the lesson, held against an independent way to the same quantity."""

from ddpm_lesson.proofs import (
    attention,
    elbo,
    embedding,
    evaluation,
    forward,
    network,
    noise,
    posterior,
    resample,
    residual,
    sampling,
    training,
)
from ddpm_lesson.proofs.core import Ledger, Proof, ledger, prove

__all__ = [
    "Ledger",
    "Proof",
    "attention",
    "elbo",
    "embedding",
    "evaluation",
    "forward",
    "ledger",
    "network",
    "noise",
    "posterior",
    "prove",
    "resample",
    "residual",
    "sampling",
    "training",
]

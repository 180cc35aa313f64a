"""Executable proofs: every numbered equation of the lesson, held against an independent way to the same quantity."""

from ddpm_lesson.proofs import elbo, forward, noise, posterior
from ddpm_lesson.proofs.core import Ledger, Proof, ledger, prove

__all__ = ["Ledger", "Proof", "elbo", "forward", "ledger", "noise", "posterior", "prove"]

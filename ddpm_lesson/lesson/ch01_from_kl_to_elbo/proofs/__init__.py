"""Proofs of notebook 01: from the KL divergence to the bound of a diffusion chain, and its units.

The equations stand in the book in the order of these imports.
"""

# isort: off
from ddpm_lesson.lesson.ch01_from_kl_to_elbo.proofs.distances import BOOK, kl_of_stds, ledger, prove
from ddpm_lesson.lesson.ch01_from_kl_to_elbo.proofs.latent import expected_log_ratio
from ddpm_lesson.lesson.ch01_from_kl_to_elbo.proofs.chain import SCHEDULE
# isort: on

__all__ = ["BOOK", "SCHEDULE", "expected_log_ratio", "kl_of_stds", "ledger", "prove"]

"""Notebook 15: score and Tweedie, the probability flow, solvers, targets, guidance, straight paths."""

from ddpm_lesson.lesson.ch15_beyond_ddpm.proofs.flow import BOOK, ledger, prove
from ddpm_lesson.lesson.ch15_beyond_ddpm.proofs.guidance import guided_stds, weights
from ddpm_lesson.lesson.ch15_beyond_ddpm.proofs.straight import same_rank

__all__ = ["BOOK", "guided_stds", "ledger", "prove", "same_rank", "weights"]

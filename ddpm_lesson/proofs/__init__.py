"""Executable proofs: every numbered equation of the lesson, held against an independent way to the same quantity."""

from ddpm_lesson.lesson.ch01_from_kl_to_elbo import proofs as elbo
from ddpm_lesson.lesson.ch02_closed_form_posterior import proofs as posterior
from ddpm_lesson.lesson.ch03_forward_noising import proofs as forward
from ddpm_lesson.lesson.ch04_noise_prediction import proofs as noise
from ddpm_lesson.lesson.ch05_time_embedding import proofs as embedding
from ddpm_lesson.lesson.ch06_residual_block import proofs as residual
from ddpm_lesson.lesson.ch07_attention_block import proofs as attention
from ddpm_lesson.lesson.ch08_down_up_middle import proofs as resample
from ddpm_lesson.lesson.ch09_unet import proofs as network
from ddpm_lesson.lesson.ch10_training import proofs as training
from ddpm_lesson.lesson.ch11_sampling import proofs as sampling
from ddpm_lesson.lesson.ch12_evaluation import proofs as evaluation
from ddpm_lesson.lesson.kit.proof import Ledger, Proof, ledger, prove

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

"""Checks of the exercises: a wrong answer gets the hint that fits the mistake."""

from ddpm_lesson.checks.core import CheckResult
from ddpm_lesson.checks.elbo import check_bits_per_dim, check_elbo, check_gaussian_kl, check_negative_elbo
from ddpm_lesson.checks.forward import check_L_T, check_linear_alpha_bar, check_q_sample, check_snr_db
from ddpm_lesson.checks.noise import (
    check_loss_weight,
    check_mean_from_eps,
    check_predict_x0,
    check_reverse_step,
    check_simple_loss,
)
from ddpm_lesson.checks.posterior import (
    check_alpha_bars,
    check_posterior_mean,
    check_posterior_var,
    check_product_of_gaussians,
    check_q_step,
)

__all__ = [
    "CheckResult",
    "check_L_T",
    "check_alpha_bars",
    "check_bits_per_dim",
    "check_elbo",
    "check_gaussian_kl",
    "check_linear_alpha_bar",
    "check_loss_weight",
    "check_mean_from_eps",
    "check_negative_elbo",
    "check_posterior_mean",
    "check_posterior_var",
    "check_predict_x0",
    "check_product_of_gaussians",
    "check_q_sample",
    "check_q_step",
    "check_reverse_step",
    "check_simple_loss",
    "check_snr_db",
]

"""Checks of the exercises: a wrong answer gets the hint that fits the mistake."""

from ddpm_lesson.lesson.ch01_from_kl_to_elbo.exercises import (
    check_bits_per_dim,
    check_elbo,
    check_gaussian_kl,
    check_negative_elbo,
)
from ddpm_lesson.lesson.ch02_closed_form_posterior.exercises import (
    check_alpha_bars,
    check_posterior_mean,
    check_posterior_var,
    check_product_of_gaussians,
    check_q_step,
)
from ddpm_lesson.lesson.ch03_forward_noising.exercises import (
    check_L_T,
    check_linear_alpha_bar,
    check_q_sample,
    check_snr_db,
)
from ddpm_lesson.lesson.ch04_noise_prediction.exercises import (
    check_loss_weight,
    check_mean_from_eps,
    check_predict_x0,
    check_reverse_step,
    check_simple_loss,
)
from ddpm_lesson.lesson.ch05_time_embedding.exercises import (
    check_add_time,
    check_frequencies,
    check_sinusoids,
    check_steps_per_turn,
)
from ddpm_lesson.lesson.ch06_residual_block.exercises import (
    check_group_norm,
    check_residual_forward,
    check_surviving_shift,
    check_swish,
)
from ddpm_lesson.lesson.ch07_attention_block.exercises import (
    check_attention,
    check_attention_block,
    check_in_convolutions,
    check_split_heads,
    check_to_image,
    check_to_tokens,
)
from ddpm_lesson.lesson.ch08_down_up_middle.exercises import (
    check_conv_size,
    check_receptive_field,
    check_up_block,
    check_up_channels,
    check_upsample_nearest,
)
from ddpm_lesson.lesson.ch09_unet.exercises import (
    check_kept_maps,
    check_residual_parameters,
    check_through_the_u,
    check_widths,
)
from ddpm_lesson.lesson.ch10_training.exercises import (
    check_averaged,
    check_draw_batch,
    check_learning_rate,
    check_train_on,
)
from ddpm_lesson.lesson.ch11_sampling.exercises import (
    check_clipped_step,
    check_ddim_step,
    check_inpaint_step,
    check_spaced_betas,
)
from ddpm_lesson.lesson.ch12_evaluation.exercises import (
    check_byte_log_likelihood,
    check_frechet,
    check_image_bits,
    check_nearest,
)
from ddpm_lesson.lesson.kit.exercise import CheckResult

__all__ = [
    "CheckResult",
    "check_L_T",
    "check_add_time",
    "check_alpha_bars",
    "check_attention",
    "check_attention_block",
    "check_averaged",
    "check_bits_per_dim",
    "check_byte_log_likelihood",
    "check_clipped_step",
    "check_conv_size",
    "check_ddim_step",
    "check_draw_batch",
    "check_elbo",
    "check_frechet",
    "check_frequencies",
    "check_gaussian_kl",
    "check_group_norm",
    "check_image_bits",
    "check_in_convolutions",
    "check_inpaint_step",
    "check_kept_maps",
    "check_learning_rate",
    "check_linear_alpha_bar",
    "check_loss_weight",
    "check_mean_from_eps",
    "check_nearest",
    "check_negative_elbo",
    "check_posterior_mean",
    "check_posterior_var",
    "check_predict_x0",
    "check_product_of_gaussians",
    "check_q_sample",
    "check_q_step",
    "check_receptive_field",
    "check_residual_forward",
    "check_residual_parameters",
    "check_reverse_step",
    "check_simple_loss",
    "check_sinusoids",
    "check_snr_db",
    "check_spaced_betas",
    "check_split_heads",
    "check_steps_per_turn",
    "check_surviving_shift",
    "check_swish",
    "check_through_the_u",
    "check_to_image",
    "check_to_tokens",
    "check_train_on",
    "check_up_block",
    "check_up_channels",
    "check_upsample_nearest",
    "check_widths",
]

"""Interactive panels: each asks a question, and ``plots`` draws the answer. No mathematics lives here."""

from ddpm_lesson.lesson.ch00_start_here.panels import show_reverse_process
from ddpm_lesson.lesson.ch01_from_kl_to_elbo.panels import show_elbo_gap, show_kl
from ddpm_lesson.lesson.ch02_closed_form_posterior.panels import show_is_it_gaussian, show_posterior
from ddpm_lesson.lesson.ch03_forward_noising.panels import show_schedule, show_xt
from ddpm_lesson.lesson.ch04_noise_prediction.panels import show_learned_noise, show_loss_weights, show_x0_guess
from ddpm_lesson.lesson.ch05_time_embedding.panels import show_clocks, show_told_time
from ddpm_lesson.lesson.ch06_residual_block.panels import show_feature_maps, show_group_norm
from ddpm_lesson.lesson.ch07_attention_block.panels import show_attention, show_score_scale
from ddpm_lesson.lesson.ch08_down_up_middle.panels import (
    show_checkerboard,
    show_receptive_field,
    show_without_skips,
)
from ddpm_lesson.lesson.ch09_unet.panels import show_levels, show_xray
from ddpm_lesson.lesson.ch10_training.panels import (
    Dashboard,
    TrainingChoice,
    choose_training,
    show_average,
    show_memory,
    show_time_machine,
    show_wobble,
    watch_training,
)
from ddpm_lesson.lesson.ch11_sampling.panels import (
    show_inpainting,
    show_interpolation,
    show_samplers,
    show_states,
    show_step_variance,
)
from ddpm_lesson.lesson.ch12_evaluation.panels import (
    show_bits_ledger,
    show_decoder,
    show_frechet,
    show_rate_distortion,
)
from ddpm_lesson.lesson.kit.panel import DeviceChoice, Panel, choice, choose_device, log_slider, slider, stops

__all__ = [
    "Dashboard",
    "DeviceChoice",
    "Panel",
    "TrainingChoice",
    "choice",
    "choose_device",
    "choose_training",
    "log_slider",
    "show_attention",
    "show_average",
    "show_bits_ledger",
    "show_checkerboard",
    "show_clocks",
    "show_decoder",
    "show_elbo_gap",
    "show_feature_maps",
    "show_frechet",
    "show_group_norm",
    "show_inpainting",
    "show_interpolation",
    "show_is_it_gaussian",
    "show_kl",
    "show_learned_noise",
    "show_levels",
    "show_loss_weights",
    "show_memory",
    "show_posterior",
    "show_rate_distortion",
    "show_receptive_field",
    "show_reverse_process",
    "show_samplers",
    "show_schedule",
    "show_score_scale",
    "show_states",
    "show_step_variance",
    "show_time_machine",
    "show_told_time",
    "show_without_skips",
    "show_wobble",
    "show_x0_guess",
    "show_xray",
    "show_xt",
    "slider",
    "stops",
    "watch_training",
]

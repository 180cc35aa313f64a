"""Interactive panels: each asks a question, and ``plots`` draws the answer. No mathematics lives here."""

from ddpm_lesson.panels.attention import show_attention, show_score_scale
from ddpm_lesson.panels.core import Panel, choice, log_slider, slider, stops
from ddpm_lesson.panels.device import DeviceChoice, choose_device
from ddpm_lesson.panels.elbo import show_elbo_gap, show_kl
from ddpm_lesson.panels.embedding import show_clocks, show_told_time
from ddpm_lesson.panels.forward import show_schedule, show_xt
from ddpm_lesson.panels.network import show_levels, show_xray
from ddpm_lesson.panels.noise import show_learned_noise, show_loss_weights, show_x0_guess
from ddpm_lesson.panels.posterior import show_is_it_gaussian, show_posterior
from ddpm_lesson.panels.resample import show_checkerboard, show_receptive_field, show_without_skips
from ddpm_lesson.panels.residual import show_feature_maps, show_group_norm
from ddpm_lesson.panels.reverse import show_reverse_process

__all__ = [
    "DeviceChoice",
    "Panel",
    "choice",
    "choose_device",
    "log_slider",
    "show_attention",
    "show_checkerboard",
    "show_clocks",
    "show_elbo_gap",
    "show_feature_maps",
    "show_group_norm",
    "show_is_it_gaussian",
    "show_kl",
    "show_learned_noise",
    "show_levels",
    "show_loss_weights",
    "show_posterior",
    "show_receptive_field",
    "show_reverse_process",
    "show_schedule",
    "show_score_scale",
    "show_told_time",
    "show_without_skips",
    "show_x0_guess",
    "show_xray",
    "show_xt",
    "slider",
    "stops",
]

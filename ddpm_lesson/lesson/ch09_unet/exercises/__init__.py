"""Exercises of notebook 09: widths, kept maps, parameters, and the loop that runs down and up the U."""

from ddpm_lesson.lesson.ch09_unet.exercises.levels import check_kept_maps, check_widths
from ddpm_lesson.lesson.ch09_unet.exercises.loop import check_through_the_u
from ddpm_lesson.lesson.ch09_unet.exercises.parameters import check_residual_parameters

__all__ = ["check_kept_maps", "check_residual_parameters", "check_through_the_u", "check_widths"]

"""Exercises of notebook 11: a clipped step back, the variances of fewer steps, a DDIM step, a step of inpainting."""

from ddpm_lesson.lesson.ch11_sampling.exercises.chain import check_clipped_step, check_spaced_variances
from ddpm_lesson.lesson.ch11_sampling.exercises.ddim import check_ddim_step
from ddpm_lesson.lesson.ch11_sampling.exercises.inpaint import check_inpaint_step

__all__ = ["check_clipped_step", "check_ddim_step", "check_inpaint_step", "check_spaced_variances"]

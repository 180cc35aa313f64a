"""Sampling: the chain forward and back, between images, and into what is hidden of them."""

from ddpm_lesson.sample.guided import guided
from ddpm_lesson.sample.inpaint import inpaint_step, inpaint_steps
from ddpm_lesson.sample.latent import interpolate_steps, slerp
from ddpm_lesson.sample.solvers import dpm_steps, heun_steps
from ddpm_lesson.sample.steps import (
    ReverseStep,
    ddim_step,
    ddim_steps,
    ddpm_steps,
    eval_mode,
    final_samples,
    forward_steps,
    reverse_steps,
    reverse_times,
    sample,
    spaced_times,
)

__all__ = [
    "ReverseStep",
    "ddim_step",
    "ddim_steps",
    "ddpm_steps",
    "dpm_steps",
    "eval_mode",
    "final_samples",
    "forward_steps",
    "guided",
    "heun_steps",
    "inpaint_step",
    "inpaint_steps",
    "interpolate_steps",
    "reverse_steps",
    "reverse_times",
    "sample",
    "slerp",
    "spaced_times",
]

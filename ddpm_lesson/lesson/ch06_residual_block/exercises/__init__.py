"""Exercises of notebook 06: group normalisation, what survives of a shift, Swish, and the block's forward pass."""

from ddpm_lesson.lesson.ch06_residual_block.exercises.block import check_residual_forward
from ddpm_lesson.lesson.ch06_residual_block.exercises.norm import check_arriving_shift, check_group_norm
from ddpm_lesson.lesson.ch06_residual_block.exercises.swish import check_swish

__all__ = ["check_arriving_shift", "check_group_norm", "check_residual_forward", "check_swish"]

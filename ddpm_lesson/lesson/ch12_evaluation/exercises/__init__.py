"""Exercises of notebook 12: what a byte costs, bits from a density, the Frechet distance, the nearest neighbour."""

from ddpm_lesson.lesson.ch12_evaluation.exercises.bits import check_byte_log_likelihood, check_image_bits
from ddpm_lesson.lesson.ch12_evaluation.exercises.frechet import check_frechet
from ddpm_lesson.lesson.ch12_evaluation.exercises.neighbours import check_nearest

__all__ = ["check_byte_log_likelihood", "check_frechet", "check_image_bits", "check_nearest"]

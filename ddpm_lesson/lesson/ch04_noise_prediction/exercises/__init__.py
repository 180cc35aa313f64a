"""Exercises of notebook 04: from one guess to another, the weight of the loss, the loss, and the step back."""

from ddpm_lesson.lesson.ch04_noise_prediction.exercises.guesses import check_mean_from_eps, check_predict_x0
from ddpm_lesson.lesson.ch04_noise_prediction.exercises.loss import check_loss_weight, check_simple_loss
from ddpm_lesson.lesson.ch04_noise_prediction.exercises.step import check_reverse_step

__all__ = ["check_loss_weight", "check_mean_from_eps", "check_predict_x0", "check_reverse_step", "check_simple_loss"]

"""Exercises of notebook 10: what a step draws, the loop, the average of the weights, and the learning rate."""

from ddpm_lesson.lesson.ch10_training.exercises.average import check_averaged
from ddpm_lesson.lesson.ch10_training.exercises.draw import check_draw_batch
from ddpm_lesson.lesson.ch10_training.exercises.loop import check_train_on
from ddpm_lesson.lesson.ch10_training.exercises.rate import check_learning_rate

__all__ = ["check_averaged", "check_draw_batch", "check_learning_rate", "check_train_on"]

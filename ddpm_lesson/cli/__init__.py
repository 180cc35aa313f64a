"""The command line: a file for each command of ``ddpm-lesson``, which joins the group when it is imported."""

from ddpm_lesson.cli import doctor, evaluate, exchange, sample, train
from ddpm_lesson.cli.group import main

__all__ = ["doctor", "evaluate", "exchange", "main", "sample", "train"]

"""``python -m ddpm_lesson`` is ``ddpm-lesson``."""

from ddpm_lesson.cli import main

main()

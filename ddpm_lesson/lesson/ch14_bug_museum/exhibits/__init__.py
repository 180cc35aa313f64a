"""The exhibits, a file for each room."""

from ddpm_lesson.lesson.ch14_bug_museum.exhibits.catalogue import EXHIBITS, HIDDEN, named
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import ROOMS, Exhibit

__all__ = ["EXHIBITS", "HIDDEN", "ROOMS", "Exhibit", "named"]

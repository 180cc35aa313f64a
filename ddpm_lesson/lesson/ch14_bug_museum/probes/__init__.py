"""The probes: each asks the package one question, with a seed for its noise, and answers in a sentence.

They ask by independent ways: plain numbers, Bayes, a law that is known exactly. None knows which bug it looks for.
"""

from ddpm_lesson.lesson.ch14_bug_museum.probes.catalogue import PROBES, findings, look
from ddpm_lesson.lesson.ch14_bug_museum.probes.samplers import DATA
from ddpm_lesson.lesson.ch14_bug_museum.probes.subjects import short

__all__ = ["DATA", "PROBES", "findings", "look", "short"]

"""The museum's panel: an exhibit, its symptom before its cause."""

from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS
from ddpm_lesson.lesson.ch14_bug_museum.plots import STAGES, draw_card
from ddpm_lesson.lesson.kit.panel import Panel, choice, slider


def show_exhibits() -> Panel:
    """Walk through the museum: what is to be seen, what the probes say, what it was."""
    return Panel(
        "Look at the samples and read the symptom: which room does it belong to, and which probe would you take?",
        lambda number, stage: draw_card(number, stage),
        number=slider("exhibit", 1, len(EXHIBITS), 1),
        stage=choice("show", STAGES),
    )

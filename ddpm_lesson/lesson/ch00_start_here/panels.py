"""The way back, from noise to data."""

from collections.abc import Iterable

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch00_start_here.plots import reverse_picture, reverse_strip
from ddpm_lesson.lesson.kit.panel import Panel, slider
from ddpm_lesson.sample import ReverseStep


def show_reverse_process(diffusion: DenoiseDiffusion, steps: Iterable[ReverseStep], what: str = "images") -> Panel:
    """Scrub the reverse process from noise to image: x_t beside x0_hat.

    Args:
        diffusion: the model that the states come from.
        steps: all states, from noise to image.
        what: what the images are, for the alternative text, such as "16 digits".

    Raises:
        ValueError: if there are no states.
    """
    steps = list(steps)
    if not steps:
        raise ValueError("steps must hold at least one state of the reverse process; got none")
    snr_db = diffusion.schedule.snr_db
    pictures = [reverse_picture(s, diffusion.n_steps, float(snr_db[s.t]), what) for s in steps]
    return Panel(
        "When does the network first know what it is drawing, and when can you see it in x_t?",
        lambda step: pictures[step],
        static=reverse_strip(steps, what),
        step=slider("steps back", 0, len(steps) - 1, 0),
    )

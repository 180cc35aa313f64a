"""The reverse process in pictures."""

from collections.abc import Sequence

import numpy as np

from ddpm_lesson.lesson.kit.figure import Picture, picture
from ddpm_lesson.lesson.kit.images import contact_sheet
from ddpm_lesson.pictures import grid_image
from ddpm_lesson.sample import ReverseStep


def reverse_picture(step: ReverseStep, T: int, snr_db: float, what: str, n_columns: int | None = None) -> Picture:
    """One state of the reverse process: x_t beside the estimate x0_hat.

    Args:
        step: the state.
        T: number of diffusion steps of the model.
        snr_db: signal-to-noise ratio at this time, in dB.
        what: what the images are, for the alternative text, such as "16 digits".
        n_columns: images a row.
    """
    images = [grid_image(x, n_columns, 340) for x in (step.xt, step.x0_hat)]
    sheet = contact_sheet({"": images}, [f"x_t  at t = {step.t}", "x0_hat, the guess from there"])
    where = f"at t = {step.t} of {T}, signal-to-noise {snr_db:.0f} dB"
    return picture(sheet, f"{what} on the way from noise {where}: left x_t, right the network's guess x0_hat")


def reverse_strip(steps: Sequence[ReverseStep], what: str, n_states: int = 7, n_images: int = 4) -> Picture:
    """The reverse process at a glance: x_t over x0_hat at evenly spaced times.

    Args:
        steps: all states, from noise to image.
        what: what the images are, for the alternative text.
        n_states: how many of the states to show.
        n_images: how many images of the batch to show.
    """
    states = [steps[i] for i in np.linspace(0, len(steps) - 1, min(n_states, len(steps))).round().astype(int)]
    rows = {
        "x_t": [grid_image(s.xt[:n_images], min_side=110) for s in states],
        "x0_hat": [grid_image(s.x0_hat[:n_images], min_side=110) for s in states],
    }
    times = [f"t = {s.t}" for s in states]
    alt = f"{what} on the way from noise to image, x_t over the network's guess x0_hat at {', '.join(times)}"
    return picture(contact_sheet(rows, times), alt)

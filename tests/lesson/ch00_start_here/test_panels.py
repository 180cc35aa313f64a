"""The scrubber of the reverse process."""

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, ddim_steps
from ddpm_lesson.lesson.ch00_start_here import panels
from tests.lesson.shown import shown

DIFFUSION = DenoiseDiffusion(lambda xt, t: 0.5 * xt, 100)


@pytest.fixture
def panel():
    return reverse_process()


def reverse_process():
    steps = ddim_steps(DIFFUSION, (4, 1, 8, 8), 10, generator=torch.Generator().manual_seed(0))
    return panels.show_reverse_process(DIFFUSION, steps, "4 squares")


PANELS = {"show_reverse_process": reverse_process}


def test_alternative_text_says_what_is_shown(panel):
    panel.controls["step"].value = 5
    _, alt = shown(panel)
    snr_db = 10 * torch.log10(DIFFUSION.alpha_bar[49] / (1 - DIFFUSION.alpha_bar[49]))
    assert alt.startswith("4 squares")
    assert "t = 49 of 100" in alt
    assert f"{snr_db:.0f} dB" in alt


def test_the_static_picture_is_a_strip_of_states(panel):
    assert panel.static.width > panel.static.height
    assert "t = 99, t = 79, t = 69, t = 59, t = 39, t = 19, t = 9" in panel.static.alt


def test_reverse_process_without_states_is_refused():
    with pytest.raises(ValueError, match="steps must hold at least one state"):
        panels.show_reverse_process(DIFFUSION, [])

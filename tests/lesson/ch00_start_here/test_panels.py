"""The scrubber of the reverse process."""

import base64
import io

import pytest
import torch
from PIL import Image

from ddpm_lesson import DenoiseDiffusion, ddim_steps
from ddpm_lesson.lesson.ch00_start_here import panels
from tests.lesson.shown import shown


@pytest.fixture
def diffusion():
    return DenoiseDiffusion(lambda xt, t: 0.5 * xt, 100)


@pytest.fixture
def panel(diffusion):
    steps = list(ddim_steps(diffusion, (4, 1, 8, 8), 10, generator=torch.Generator().manual_seed(0)))
    return panels.show_reverse_process(diffusion, steps, "4 squares")


def test_every_position_of_the_slider_shows_another_picture_of_the_same_size(panel):
    slider = panel.controls["step"]
    pictures, alts, sizes = set(), set(), set()
    for position in range(slider.min, slider.max + 1):
        slider.value = position
        picture, alt = shown(panel)
        pictures.add(picture.tobytes())
        alts.add(alt)
        sizes.add(picture.size)
    assert len(pictures) == len(alts) == 10
    assert len(sizes) == 1


def test_alternative_text_says_what_is_shown(panel, diffusion):
    panel.controls["step"].value = 5
    _, alt = shown(panel)
    snr_db = 10 * torch.log10(diffusion.alpha_bar[49] / (1 - diffusion.alpha_bar[49]))
    assert alt.startswith("4 squares")
    assert "t = 49 of 100" in alt
    assert f"{snr_db:.0f} dB" in alt


def test_controls_are_labelled_and_a_question_stands_in_front(panel):
    assert all(control.description for control in panel.controls.values())
    assert panel.box.children[0].value.endswith("?</b>")


def test_a_picture_is_left_for_readers_without_a_kernel(panel):
    bundle, _ = panel._repr_mimebundle_()
    strip = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert strip.width > strip.height
    assert "t = 99, t = 79, t = 69, t = 59, t = 39, t = 19, t = 9" in bundle["text/plain"]
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.box.model_id


def test_reverse_process_without_states_is_refused(diffusion):
    with pytest.raises(ValueError, match="steps must hold at least one state"):
        panels.show_reverse_process(diffusion, [])

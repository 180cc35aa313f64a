"""The one redraw path: what makes sense is drawn, what does not is explained, and the panel lives on."""

import pytest
from PIL import Image

from ddpm_lesson.lesson.kit.figure import picture
from ddpm_lesson.lesson.kit.panel import Panel, choice, log_slider, slider, stops
from tests.lesson.shown import shown


def square(side, name="a"):
    """A picture of a grey square, or an error for sides that are too large."""
    if side > 7:
        raise ValueError(f"side must be at most 7; got {side}")
    return picture(Image.new("L", (10 * side, 10 * side), 10 * side), f"square {name} of side {side}")


@pytest.fixture
def panel():
    return Panel("How large?", square, side=slider("side length", 1, 9, 5), name=choice("name", ["a", "<b>"]))


def test_redraws_for_every_control(panel):
    panel.controls["side"].value = 3
    image, alt = shown(panel)
    assert (image.size, alt) == ((30, 30), "square a of side 3")
    panel.controls["name"].value = "<b>"
    assert shown(panel)[1] == "square <b> of side 3"


def test_height_on_the_page_is_that_of_the_first_picture(panel):
    for side in (5, 2, 7, 9):
        panel.controls["side"].value = side
        assert "height:50px" in panel.image.value


def test_error_is_named_and_what_is_shown_instead(panel):
    panel.controls["side"].value = 7
    before, _ = shown(panel)
    panel.controls["side"].value = 8
    image, alt = shown(panel)
    assert alt == "side must be at most 7; got 8. Still shown: side length 7, name a. square a of side 7"
    assert image.width == before.width
    assert image.getpixel((35, image.height - 35)) > (180, 180, 180)  # paler than the 70 of the square, below the note


def test_panel_recovers_from_an_error(panel):
    panel.controls["side"].value = 9
    panel.controls["side"].value = 4
    assert shown(panel)[1] == "square a of side 4"


def test_any_error_of_a_drawing_is_shown(panel):
    panel.draw = lambda side, name: {}[side]
    panel.controls["side"].value = 4
    assert shown(panel)[1].startswith("4. Still shown")


def test_nonsense_at_the_start_is_an_error_of_the_author():
    with pytest.raises(ValueError, match="side must be at most 7"):
        Panel("How large?", square, side=slider("side", 1, 9, 9))


def test_question_is_shown_as_text():
    panel = Panel("Is 1 < 2?", square, side=slider("side", 1, 9, 5))
    assert panel.box.children[0].value == "<b>Is 1 &lt; 2?</b>"


def test_notebook_keeps_a_picture_with_its_words(panel):
    data, metadata = panel._repr_mimebundle_()
    assert data["text/plain"] == "square a of side 5"
    assert metadata["image/png"] == {"width": 50, "height": 50}
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.box.model_id


@pytest.mark.parametrize(
    ("control", "value"),
    [
        (slider("n", 0, 9, 3), 3),
        (slider("x", 0.0, 1.0, 0.5, 0.1), 0.5),
        (log_slider("beta", -4, -1, 0.02), 0.02),
        (stops("T", [10, 100, 1000], 100), 100),
        (choice("data", ["digits", "mnist"]), "digits"),
        (choice("data", ["digits", "mnist"], "mnist"), "mnist"),
    ],
)
def test_controls_start_where_they_are_told_and_carry_their_label(control, value):
    assert control.value == value
    assert control.description


def test_slider_of_whole_numbers_gives_whole_numbers():
    assert isinstance(slider("n", 0, 9, 3).value, int)

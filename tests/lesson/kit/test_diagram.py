"""Diagrams: boxes stand where they were put, and arrows end where they point."""

import numpy as np
import pytest

from ddpm_lesson.lesson.kit.diagram import COLOURS, Box, Diagram, legend


def pixel(picture, x, y):
    image = picture.image()
    scale = image.width / picture.width
    return np.array(image.getpixel((round(x * scale), round(y * scale))))


def test_box_has_the_colour_of_its_kind():
    for kind, (fill, _) in COLOURS.items():
        diagram = Diagram(100, 60)
        diagram.box(kind, 10, 10, 80, 40)
        expected = [int(fill[i : i + 2], 16) for i in (1, 3, 5)]
        assert abs(pixel(diagram.picture("box"), 20, 20) - expected).max() < 6, kind


def test_sides_of_a_box_are_points_on_its_outline():
    box = Box(10, 20, 30, 40)
    assert (box.left, box.right, box.top, box.bottom, box.centre) == ((10, 40), (40, 40), (25, 20), (25, 60), (25, 40))


@pytest.mark.parametrize("on", [[(90, 30)], [(50, 10), (50, 50), (90, 50)]])
def test_arrow_reaches_its_last_point_and_not_beyond(on):
    diagram = Diagram(120, 60)
    diagram.arrow((10, 30), *on)
    shown, (x, y) = diagram.picture("arrow"), on[-1]
    assert pixel(shown, x - 4, y).max() < 90
    assert pixel(shown, x + 4, y).min() > 240


def test_dashed_line_has_gaps():
    diagram = Diagram(200, 40)
    diagram.arrow((10, 20), (190, 20), kind="skip")
    row = np.asarray(diagram.picture("line").image().convert("L"))[30, 20:260]
    assert (row < 150).sum() > 40
    assert (row > 240).sum() > 40


def test_diagram_is_as_large_as_asked_and_says_what_it_shows():
    shown = Diagram(300, 200).picture("an empty card")
    assert (shown.width, shown.height, shown.alt) == (300, 200, "an empty card")


def test_legend_names_every_kind_it_is_given():
    diagram = Diagram(400, 40)
    legend(diagram, 10, 20, ["conv", "time"])
    assert abs(pixel(diagram.picture("legend"), 20, 20) - [0xD6, 0xE6, 0xF2]).max() < 6

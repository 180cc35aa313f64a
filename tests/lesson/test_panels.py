"""Every panel of the lesson, found by itself: no control is dead, and the words belong to the picture.

How to build each stands in ``PANELS`` of its chapter's ``test_panels.py``, beside the tests of what it says.
"""

import importlib
import re

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import ImageColor

from ddpm_lesson.lesson.kit.colours import ORANGE
from tests.lesson.chapters import panels
from tests.lesson.shown import shown


@pytest.fixture(scope="module", params=panels())
def panel(request, tmp_path_factory):
    """A panel where no data set is but the digits."""
    chapter = panels()[request.param].__name__.split(".")[-2]
    builders = importlib.import_module(f"tests.lesson.{chapter}.test_panels").PANELS
    assert request.param in builders, f"say in PANELS of tests/lesson/{chapter}/test_panels.py how to build it"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDPM_DATA", str(tmp_path_factory.mktemp("data")))
        yield builders[request.param]()


def stops(control):
    """Where to put a control: its ends, the next stop from its start, and some between; as trait and value."""
    if hasattr(control, "options"):
        n, here = len(control.options), control.index
        places = [("index", i) for i in range(n)]
    else:
        values = np.linspace(control.min, control.max, round((control.max - control.min) / control.step) + 1)
        values = (getattr(control, "base", None) or 1) ** values if hasattr(control, "base") else values
        n, here = len(values), int(abs(values - control.value).argmin())
        places = [("value", type(control.value)(value)) for value in values]
    some = {round(i) for i in np.linspace(0, n - 1, min(n, 5))}
    return [places[i] for i in sorted({*some, here + 1 if here + 1 < n else here - 1} - {here})]


def has_note(picture):
    """Whether a banner, which begins with a bar in orange, makes the picture higher."""
    return picture.convert("RGB").getpixel((0, 0)) == ImageColor.getrgb(ORANGE)


@pytest.fixture
def cut(monkeypatch):
    """Words that were drawn beyond the edge of their figure."""
    words, draw = set(), Text.draw

    def watched(text, renderer, *arguments, **named):
        box, figure = text.get_window_extent(renderer), text.get_figure(root=True).bbox
        inside = box.x0 >= -1 and box.x1 <= figure.x1 + 1 and box.y0 >= -1 and box.y1 <= figure.y1 + 1
        if text.get_visible() and text.get_text() and not inside:
            words.add(text.get_text())
        return draw(text, renderer, *arguments, **named)

    monkeypatch.setattr(Text, "draw", watched)
    return words


def test_every_stop_of_every_control_shows_another_picture_with_its_own_words(panel, cut):
    start = shown(panel)
    for name, control in panel.controls.items():
        home, seen = control.value, {start[1]: start[0].tobytes()}
        for trait, value in stops(control):
            setattr(control, trait, value)
            picture, alt = shown(panel)
            assert "Still shown" not in alt, f"{name} {value} is refused: {alt}"
            assert not re.search(r"\bnan\b|None", alt), alt
            assert alt not in seen, f"{name} {value} has the words of another stop"
            assert picture.tobytes() not in seen.values(), f"{name} {value} has the picture of another stop"
            assert f"height:{panel.height}px" in panel.image.value
            assert picture.size == start[0].size or has_note(picture), (name, value)
            seen[alt] = picture.tobytes()
        control.value = home
        picture, alt = shown(panel)
        assert (picture.tobytes(), alt) == (start[0].tobytes(), start[1]), f"{name}: the way back shows something else"
    assert not cut


def test_controls_are_labelled_and_a_question_stands_in_front(panel):
    assert all(control.description for control in panel.controls.values())
    assert panel.box.children[0].value.endswith("?</b>")

"""The minutes that heads and README state are those of the text."""

import re

import nbformat
import pytest

from tests.lesson.chapters import NOTEBOOKS, ROOT
from tests.lesson.minutes import SIDE, STATED, minutes

NEAR = 4  # minutes by which a head may round
LONGEST = 45  # of a main path


def stated(head: str) -> tuple[int, int, int]:
    """Main path, side paths and exercises, as the line about the time says."""
    line = re.search(r"\*\*Time:\*\* ([^*]*)", head)[1].replace("\n", " ")
    kinds = ("main", "side", "exercises")
    found = [re.search(rf"(\d+)(?: minutes)? for the {kind}", line) for kind in kinds]
    return tuple(int(number[1]) if number else 0 for number in found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_minutes_are_those_of_the_text(path):
    source = nbformat.read(path, as_version=4).cells[0].source
    main, side, exercises = stated(source)
    counted = minutes(path)
    assert main <= LONGEST
    assert main == pytest.approx(counted.main, abs=NEAR)
    assert side == pytest.approx(counted.side, abs=NEAR)
    assert (SIDE in source) == (side > 0)
    assert exercises == counted.exercises


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_and_build_says_how_many_minutes_it_takes(path):
    cells = nbformat.read(path, as_version=4).cells
    code, text = ("\n".join(cell.source for cell in cells if cell.cell_type == kind) for kind in ("code", "markdown"))
    asked = re.findall(r"^(?:check|build)_\w+\(", code, re.M)
    assert len(re.findall(STATED, re.sub(r"<details>.*?</details>", "", text, flags=re.S))) == len(asked)


README = (ROOT / "README.md").read_text(encoding="utf-8")


def minutes_of_the_readme():
    """Main path, side paths and exercises of each notebook."""
    row = r"^\| \[.*?\]\(notebooks/(.*?)\.ipynb\) \|.*\| (\d+) \| (\d*) \| (\d*) \|$"
    return {name: tuple(int(n or 0) for n in numbers) for name, *numbers in re.findall(row, README, re.M)}


def test_readme_has_the_minutes_of_the_notebooks():
    assert minutes_of_the_readme() == {
        path.stem: stated(nbformat.read(path, as_version=4).cells[0].source) for path in NOTEBOOKS
    }


def test_the_hours_of_the_readme_are_those_of_its_minutes():
    main, _, exercises = map(sum, zip(*minutes_of_the_readme().values(), strict=True))
    hours = re.search(r"together take (\d+) hours,\s+and all exercises (\d+) more", README)
    assert [int(n) for n in hours.groups()] == [round(main / 60), round(exercises / 60)]

    one_by_one = {name[:2]: row[0] for name, row in minutes_of_the_readme().items()}
    taken = 0
    for n, notebooks in re.findall(r"In (\d) hours: ((?:\d\d|,|and|\s)+)", README):
        taken += sum(one_by_one[name] for name in re.findall(r"\d\d", notebooks))
        assert taken == pytest.approx(60 * int(n), abs=15)
    assert taken

"""How long a notebook takes, from its text: main path, side paths and exercises."""

import re
from pathlib import Path
from typing import NamedTuple

import nbformat

WORDS_A_MINUTE = 120  # where there are formulas
LOOK = 1  # minutes for a picture or a panel
STATED = r"\([^()\d]*(\d+) minutes[^()]*\)"  # of an exercise or a build, in its heading or its first lines
SIDE = "◆"  # in the heading of a section that the main path does without


class Minutes(NamedTuple):
    """What a notebook asks of its reader."""

    main: float
    side: float
    exercises: int


def minutes(path: Path) -> Minutes:
    """Reading at ``WORDS_A_MINUTE``, what is folded left out; exercises and builds apart, as they state it."""
    reading = {False: 0.0, True: 0.0}
    exercises, side = 0, False
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            for heading in re.findall(r"^## .*", cell.source, re.M):
                side = SIDE in heading
            text = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.S)
            reading[side] += len(text.split()) / WORDS_A_MINUTE
            exercises += sum(map(int, re.findall(STATED, text)))
        else:
            reading[side] += LOOK * any(is_picture(out.get("data", {})) for out in cell.outputs)
    return Minutes(reading[False], reading[True], exercises)


def is_picture(data: dict[str, str]) -> bool:
    """Whether an output shows a picture or a panel."""
    return "image/png" in data or "<img" in data.get("text/html", "")

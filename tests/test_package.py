"""The house: what imports what, and what the project promises about itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ddpm_lesson

ROOT = Path(__file__).parents[1]
ROOMS = [
    "runtime",
    "schedule",
    "mixture",
    "diffusion",
    "unet",
    "exchange",
    "data",
    "sample",
    "xray",
    "anatomy",
    "bound",
    "train",
    "checkpoint",
    "plots",
    "evaluate",
    "proofs",
    "checks",
    "run",
    "live",
    "panels",
    "cli",
]  # from the ground up


def files_of(room):
    """The file of a room, or the files of one that is a folder."""
    place = ROOT / "ddpm_lesson" / room
    return list(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def imported_rooms(room):
    """Other rooms of the package that a room imports, anywhere in it."""
    names = set()
    for node in (node for file in files_of(room) for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module == "ddpm_lesson":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("ddpm_lesson."):
            names.add(node.module.split(".")[1])
    return names - {room}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_rooms_below(room):
    assert imported_rooms(room) <= set(ROOMS[: ROOMS.index(room)])


def test_every_room_is_in_the_house():
    files = {path.stem for path in (ROOT / "ddpm_lesson").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {name for name in files if not name.startswith("__")} - {"assets"} == set(ROOMS)


def test_public_names_exist():
    assert [name for name in ddpm_lesson.__all__ if not hasattr(ddpm_lesson, name)] == []


def test_importing_the_package_pulls_in_nothing_slow():
    slow = ["torchvision", "sklearn", "accelerate", "torchmetrics", "matplotlib", "ipywidgets", "IPython"]
    code = f"import ddpm_lesson, sys; print([m for m in {slow} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_constraints_pin_everything_that_is_required():
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    required = set(re.findall(r"^([\w-]+)>=", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert required <= pinned


def test_the_example_of_the_readme_runs():
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    names = {}
    exec(code, names)
    assert names["t"] == 49  # the last of 20 evenly spaced times
    assert names["x0_hat"].shape == (4, 1, 28, 28)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "assets/README.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []

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
    "diffusion",
    "unet",
    "data",
    "sample",
    "train",
    "checkpoint",
    "plots",
    "run",
    "panels",
    "cli",
]  # from the ground up


def imported_rooms(room):
    """Rooms of the package that a room imports, anywhere in it."""
    tree = ast.parse((ROOT / "ddpm_lesson" / f"{room}.py").read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "ddpm_lesson":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("ddpm_lesson."):
            names.add(node.module.removeprefix("ddpm_lesson."))
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_rooms_below(room):
    assert imported_rooms(room) <= set(ROOMS[: ROOMS.index(room)])


def test_every_room_is_in_the_house():
    files = {p.stem for p in (ROOT / "ddpm_lesson").glob("*.py") if not p.stem.startswith("__")}
    assert files == set(ROOMS)


def test_public_names_exist():
    assert [name for name in ddpm_lesson.__all__ if not hasattr(ddpm_lesson, name)] == []


def test_importing_the_package_pulls_in_nothing_slow():
    slow = ["torchvision", "sklearn", "accelerate", "matplotlib", "ipywidgets", "IPython"]
    code = f"import ddpm_lesson, sys; print([m for m in {slow} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_constraints_pin_everything_that_is_required():
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    required = set(re.findall(r"^([\w-]+)>=", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert required <= pinned


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "assets/README.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []

"""The chapters of the lesson, found by themselves: their notebooks, rooms, exercises and proofs."""

import ast
import functools
import importlib
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import nbformat

from ddpm_lesson.lesson.kit.build import Build
from ddpm_lesson.lesson.kit.exercise import Exercise

ROOT = Path(__file__).parents[2]
CHAPTERS = {path.name: path for path in sorted((ROOT / "ddpm_lesson" / "lesson").glob("ch*"))}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
Check = TypeVar("Check", Exercise, Build)


def rooms(kind: str) -> dict[str, ModuleType]:
    """The module called ``kind`` of every chapter that has one, by the number of the chapter."""
    names = [name for name, path in CHAPTERS.items() if (path / f"{kind}.py").exists() or (path / kind).is_dir()]
    return {name[2:4]: importlib.import_module(f"ddpm_lesson.lesson.{name}.{kind}") for name in names}


def checks(room: str, kind: type[Check]) -> dict[str, Check]:
    """What is of one kind in the rooms of one name, by its own name."""
    found = (vars(module).items() for module in rooms(room).values())
    return {name: value for items in found for name, value in items if isinstance(value, kind)}


def exercises() -> dict[str, Exercise]:
    """Every exercise of the lesson by the name of its check."""
    return checks("exercises", Exercise)


def builds() -> dict[str, Build]:
    """Every build of the lesson by the name of its check."""
    return checks("builds", Build)


def panels() -> dict[str, ModuleType]:
    """The module of every panel ``show_...`` by its name."""
    return {
        node.name: module
        for module in rooms("panels").values()
        for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("show_")
    }


@functools.cache
def cells(path: Path, kind: str) -> str:
    """All cells of one kind, ``code`` or ``markdown``, of a notebook."""
    return "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind)

"""What every exchange needs: a library that may be missing, and settings that it may not know."""

import importlib
from types import ModuleType
from typing import Any

Settings = dict[str, Any]


def library(module: str, package: str | None = None) -> ModuleType:
    """Import what only the exchange needs; ImportError saying what to install if it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = package or module
        raise ImportError(f"this needs {package}: pip install {package} ({error})") from error


def check_expressible(name: str, settings: Settings, fixed: Settings) -> None:
    """Raise a ValueError if one of the ``settings`` is not what the library called ``name`` has built in."""
    for key, value in fixed.items():
        if settings[key] != value:
            raise ValueError(f"{name} knows only {key}={value!r}; got {settings[key]!r}")

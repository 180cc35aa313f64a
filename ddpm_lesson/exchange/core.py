"""What every exchange needs: to know which settings the other library cannot express."""

from typing import Any

Settings = dict[str, Any]


def height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Both sides of images of a size: a side, or height and width."""
    return image_size if isinstance(image_size, tuple) else (image_size, image_size)


def check_expressible(name: str, settings: Settings, fixed: Settings) -> None:
    """Raise a ValueError if one of the ``settings`` is not what the library called ``name`` has built in."""
    for key, value in fixed.items():
        if settings[key] != value:
            raise ValueError(f"{name} knows only {key}={value!r}; got {settings[key]!r}")

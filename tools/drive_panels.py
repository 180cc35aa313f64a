"""Move every control of every panel of a running notebook; colab_lane.py runs this file as the notebook's last cell."""

import gc
import json
import math
import re
from typing import Any

from ipywidgets import Widget

import ddpm_lesson
from ddpm_lesson.lesson.kit.panel import Panel


def neighbours(control: Widget) -> list[Any]:
    """The values of a control that are one step away from its present one."""
    value = control.value
    if hasattr(control, "options"):
        options = [option[1] if isinstance(option, tuple) else option for option in control.options]
        return [options[i] for i in (control.index - 1, control.index + 1) if 0 <= i < len(options)]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, tuple):
        return [(value[0] + control.step, value[1]), (value[0], value[1] - control.step)]
    if hasattr(control, "base"):  # min, max and step are those of the exponent
        exponent = math.log(value, control.base)
        exponents = [e for e in (exponent - control.step, exponent + control.step) if control.min <= e <= control.max]
        return [control.base**e for e in exponents]
    return [v for v in (value - control.step, value + control.step) if control.min <= v <= control.max]


def shown(panel: Panel) -> tuple[str, str] | None:
    """The words and the picture that a panel shows now; None if it refuses the values of its controls."""
    refused = panel.shown != panel.values()
    return None if refused else re.search(r'alt="([^"]+)".*base64,([^"]+)"', panel.image.value).groups()


def answers(panel: Panel, control: Widget) -> bool:
    """Whether a step of ``control`` changes both the words and the picture; it is put back afterwards."""
    start, before = control.value, shown(panel)
    changes = []
    for value in neighbours(control):
        control.value = value
        after = shown(panel)
        changes.append(bool(after) and all(new != old for new, old in zip(after, before, strict=True)))
        control.value = start
    return any(changes)


def living_panels() -> list[Panel]:
    """Every panel that was made, wherever it is held."""
    return [thing for thing in gc.get_objects() if issubclass(type(thing), Panel)]


def drive(panels: list[Panel]) -> dict[str, Any]:
    """What there is: the id of each panel's widget, the number of controls, and those that change nothing."""
    dead = {
        panel: [name for name, control in panel.controls.items() if not answers(panel, control)] for panel in panels
    }
    return {
        "panels": [panel.box.model_id for panel in panels],
        "controls": sum(len(panel.controls) for panel in panels),
        "dead": [f"{name} of {panel.box.children[0].value}" for panel in panels for name in dead[panel]],
    }


if __name__ == "__main__":
    print(json.dumps(drive(living_panels()) | {"package": ddpm_lesson.__file__}))

"""The GPU toggle."""

from typing import Any

import ipywidgets as widgets
import torch

from ddpm_lesson.panels.core import widget_view
from ddpm_lesson.runtime import DEVICES, get_device, why_not


class DeviceChoice:
    """Buttons for the device to compute on; what is not there is greyed, with the reason below.

    ``choice.device`` is the device that is chosen now.
    """

    def __init__(self, start: str = "auto"):
        self.device: torch.device = get_device(start)
        names = {"cpu": "CPU", "cuda": "NVIDIA GPU (CUDA)", "mps": "Apple GPU (MPS)"}
        reasons = {name: why_not(name) for name in DEVICES if name != "auto"}
        self.buttons = {
            name: widgets.Button(
                description=names[name],
                disabled=reason is not None,
                tooltip=reason or names[name],
                layout=widgets.Layout(width="auto"),
            )
            for name, reason in reasons.items()
        }
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self.choose(name))
        missing = "<br>".join(f"{names[name]}: {reason}" for name, reason in reasons.items() if reason)
        self.box = widgets.VBox([widgets.HBox(list(self.buttons.values())), widgets.HTML(missing)])
        self.mark()

    def choose(self, name: str) -> None:
        """Take the device called ``name`` from now on."""
        self.device = get_device(name)
        self.mark()

    def mark(self) -> None:
        """Show which button is chosen: by colour and by a check mark."""
        for name, button in self.buttons.items():
            chosen = name == self.device.type
            button.button_style = "success" if chosen else ""
            button.icon = "check" if chosen else ""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return widget_view(self.box) | {"text/plain": "Buttons to choose the device: CPU, CUDA or MPS"}


def choose_device(start: str = "auto") -> DeviceChoice:
    """The GPU toggle: buttons for CPU, CUDA and MPS, starting with ``start``."""
    return DeviceChoice(start)

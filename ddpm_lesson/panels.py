"""Interactive panels: controls in, pictures from ``plots`` out. No mathematics lives here.

Only widgets that ipywidgets 7.7 and 8 share are used, so that panels work in Colab as well.
"""

import base64
import html
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets as widgets
import torch

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.plots import Picture, reverse_picture, reverse_strip
from ddpm_lesson.runtime import DEVICES, get_device, why_not
from ddpm_lesson.sample import ReverseStep


class Panel:
    """A question, its controls and a picture that answers it; the one redraw path of every panel.

    The picture is an HTML image with alternative text, as high as the first one. A notebook that is read without a
    kernel shows the picture ``static``.

    Args:
        question: what the reader may find out here.
        draw: called with the value of every control by name; returns the picture.
        static: what to leave in the notebook; the first picture unless given.
        controls: widgets with a ``value`` and a ``description``.
    """

    def __init__(
        self,
        question: str,
        draw: Callable[..., Picture],
        *,
        static: Picture | None = None,
        **controls: widgets.Widget,
    ):
        self.draw = draw
        self.controls = controls
        self.image = widgets.HTML()
        self.height = 0  # of the picture in pixels; the first one decides
        first = self.redraw()
        self.static = static or first
        for control in controls.values():
            control.observe(self.redraw, names="value")
        self.box = widgets.VBox([widgets.HTML(f"<b>{html.escape(question)}</b>"), *controls.values(), self.image])
        self.box.add_class("ddpm-panel")

    def redraw(self, change: Any = None) -> Picture:
        """Draw the picture for the present values of the controls."""
        picture = self.draw(**{name: control.value for name, control in self.controls.items()})
        source = base64.b64encode(picture.png).decode()
        alt = html.escape(picture.alt, quote=True)
        self.height = self.height or picture.height
        style = f"height:{self.height}px; max-width:100%; object-fit:contain; object-position:left"
        self.image.value = f'<img alt="{alt}" style="{style}" src="data:image/png;base64,{source}">'
        return picture

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return widget_view(self.box) | {
            "image/png": base64.b64encode(self.static.png).decode(),
            "text/plain": self.static.alt,
        }


def widget_view(box: widgets.Widget) -> dict[str, Any]:
    """The MIME bundle that shows a live widget, the same for ipywidgets 7 and 8."""
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    return {"application/vnd.jupyter.widget-view+json": view}


def show_reverse_process(diffusion: DenoiseDiffusion, steps: Iterable[ReverseStep], what: str = "images") -> Panel:
    """Scrub the reverse process from noise to image: x_t beside x0_hat.

    Args:
        diffusion: the model that the states come from.
        steps: all states, from noise to image.
        what: what the images are, for the alternative text, such as "16 digits".

    Raises:
        ValueError: if there are no states.
    """
    steps = list(steps)
    if not steps:
        raise ValueError("steps must hold at least one state of the reverse process; got none")
    snr_db = 10 * diffusion.schedule.snr.log10()
    pictures = [reverse_picture(s, diffusion.n_steps, float(snr_db[s.t]), what) for s in steps]
    slider = widgets.IntSlider(
        0, 0, len(steps) - 1, description="steps back", layout=widgets.Layout(width="560px", max_width="100%")
    )
    question = "When does the network first know what it is drawing, and when can you see it in x_t?"
    return Panel(question, lambda step: pictures[step], static=reverse_strip(steps, what), step=slider)


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

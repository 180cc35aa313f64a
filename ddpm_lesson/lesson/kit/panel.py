"""The one redraw path of all panels: controls in, a picture from ``plots`` out, and never a dead slider.

Only widgets that ipywidgets 7.7 and 8 share are used, so that panels work in Colab as well.
"""

import html
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets as widgets
import torch

from ddpm_lesson.lesson.kit.figure import Picture, faded, noted
from ddpm_lesson.runtime import DEVICES, get_device, why_not

WIDE = {"width": "560px", "max_width": "100%"}
LABEL = {"description_width": "110px"}


class Panel:
    """A question, its controls and a picture that answers it.

    The picture is an HTML image with alternative text, as high as the first one. When the controls ask for something
    that makes no sense, ``draw`` shows something near and says so with ``noted``. If it raises an error instead, the
    last picture stays, paler, under the reason. A notebook that is read without a kernel shows the picture ``static``.

    Args:
        question: what the reader may find out here.
        draw: called with the value of every control by name; returns the picture.
        static: what to leave in the notebook; the first picture unless given.
        controls: widgets with a ``value`` and a ``description``, such as ``slider`` and ``choice`` make.
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
        self.shown = self.values()  # the last values that made sense
        self.picture = draw(**self.shown)  # and their picture
        self.height = self.picture.height  # of every picture in CSS pixels; the first one decides
        self.static = static or self.picture
        self.image = widgets.HTML(self.picture.html())
        for control in controls.values():
            control.observe(self.redraw, names="value")
        self.box = widgets.VBox([widgets.HTML(f"<b>{html.escape(question)}</b>"), *controls.values(), self.image])
        self.box.add_class("ddpm-panel")

    def values(self) -> dict[str, Any]:
        """The present value of every control."""
        return {name: control.value for name, control in self.controls.items()}

    def redraw(self, change: Any = None) -> None:
        """Draw the picture for the present values of the controls, or say why there is none."""
        values = self.values()
        try:
            self.picture = self.draw(**values)
        except Exception as error:  # whatever it is, the panel lives on and the reader sees it
            self.refuse(str(error) or type(error).__name__)
        else:
            self.shown = values
            self.image.value = self.picture.html(self.height)

    def refuse(self, reason: str) -> None:
        """Show the last picture that made sense, paler, below the reason."""
        settings = ", ".join(f"{self.controls[name].description} {value}" for name, value in self.shown.items())
        refused = noted(faded(self.picture), f"{reason}. Still shown: {settings}.")
        self.image.value = refused.html(self.height)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = self.static._repr_mimebundle_()
        return widget_view(self.box) | data, metadata


def widget_view(box: widgets.Widget) -> dict[str, Any]:
    """The MIME bundle that shows a live widget, the same for ipywidgets 7 and 8."""
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    return {"application/vnd.jupyter.widget-view+json": view}


def slider(label: str, low: float, high: float, start: float, step: float = 1) -> widgets.Widget:
    """A labelled slider over ``low`` .. ``high``: of whole numbers if all four numbers are whole."""
    whole = all(isinstance(number, int) for number in (low, high, start, step))
    kind = widgets.IntSlider if whole else widgets.FloatSlider
    return kind(start, min=low, max=high, step=step, description=label, style=LABEL, layout=WIDE)


def log_slider(label: str, low: float, high: float, start: float) -> widgets.Widget:
    """A labelled slider over powers of ten, 10**low .. 10**high, in twentieths of a decade."""
    return widgets.FloatLogSlider(
        start, min=low, max=high, step=0.05, description=label, style=LABEL, layout=WIDE, readout_format=".1e"
    )


def stops(label: str, values: Iterable[Any], start: Any) -> widgets.Widget:
    """A labelled slider that stops at ``values`` only."""
    return widgets.SelectionSlider(options=list(values), value=start, description=label, style=LABEL, layout=WIDE)


def choice(label: str, options: Iterable[str], start: str | None = None) -> widgets.Widget:
    """A labelled slider over named ``options``, at the first unless ``start`` is given.

    Not a drop-down list, because JupyterLab takes the arrow keys away from those.
    """
    options = list(options)
    return stops(label, options, start or options[0])


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

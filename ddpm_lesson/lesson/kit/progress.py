"""How a training run looks while it goes on: its loss, and what it draws."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from ddpm_lesson.lesson.kit.colours import BLUE, GREY, ORANGE
from ddpm_lesson.lesson.kit.figure import SCALE, LiveFigure, Picture, headline, key, picture, stacked, subplots
from ddpm_lesson.lesson.kit.images import contact_sheet
from ddpm_lesson.pictures import grid_image

LOOKS = 6  # grids of samples beside each other
LOOK_SIDE = 190  # pixels
Curve = tuple[Sequence[float], Sequence[float]]  # steps and losses


class RunPlot:
    """A run in progress: its loss over that of a reference, and its samples so far.

    Args:
        n_steps: of the whole run.
        reference: the curve of a run that went well.
    """

    def __init__(self, n_steps: int, reference: Curve = ((), ())):
        figure, (axes,) = subplots(3, room=0.45, which="both")
        axes.set(xlim=(0.7, max(n_steps, 2) * 1.4), xscale="log", yscale="log", ylim=(0.015, 3), ylabel="loss")
        axes.set_xlabel("optimiser step", labelpad=1)
        axes.plot(*reference, color=GREY, linewidth=1, alpha=0.6)
        (self.loss,) = axes.plot([], [], color=BLUE, linewidth=1.5)
        (self.probe,) = axes.plot([], [], color=ORANGE, linewidth=2, linestyle="--", marker="o", markersize=4)
        lines = {
            "solid: loss of the batches": BLUE,
            "dashed: average of the weights, same question always": ORANGE,
            "thin: a run that comes with the lesson": GREY,
        }
        key(axes, lines, "lower left")
        self.live = LiveFigure(figure, [self.loss, self.probe], headline(figure))

    def draw(self, losses: Curve, probes: Curve, samples: Sequence[Tensor], words: str) -> Picture:
        """The run as it stands.

        Args:
            losses: of the batches.
            probes: of the averaged weights; ``samples`` were drawn at the same steps.
            samples: each (N, C, H, W) in [-1, 1].
            words: how far the run is.
        """
        self.loss.set_data(*losses)
        self.probe.set_data([max(step, 1) for step in probes[0]], probes[1])
        chosen = sorted({round(i) for i in np.linspace(0, len(samples) - 1, min(LOOKS, len(samples)))})
        grids = [grid_of(samples[i], LOOK_SIDE) for i in chosen]
        grids += [Image.new("RGB", grids[0].size, "white")] * (LOOKS - len(grids))
        captions = [f"step {probes[0][i]:,}" for i in chosen] + [""] * (LOOKS - len(chosen))
        alt = f"Training: {words}. Samples of the average after steps {', '.join(str(probes[0][i]) for i in chosen)}"
        return picture(stacked(self.live.image(words), contact_sheet({"": grids}, captions)), alt, SCALE)


def grid_of(images: Tensor, side: int) -> Image.Image:
    """A square grid of images, exactly ``side`` pixels wide."""
    return grid_image(images, min_side=side).resize((side, side), Image.Resampling.BOX)

"""Changing the resolution: windows that grow, checkerboards, and a network whose skips are taken away."""

from functools import cache, lru_cache

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch08_down_up_middle import plots, windows
from ddpm_lesson.lesson.ch08_down_up_middle.experiments import Guess, guess_without, up_blocks
from ddpm_lesson.lesson.ch08_down_up_middle.upsampling import METHODS, enlarge, taps_at
from ddpm_lesson.lesson.kit.figure import SCALE, Picture, picture, stacked
from ddpm_lesson.lesson.kit.panel import Panel, choice, slider
from ddpm_lesson.unet import UNet

WHAT_COUNTS = ("convolutions only", "the whole network")
WEIGHTS = ("all ones", *(f"random {i}" for i in range(1, 10)))
BOARD = 24  # pixels of the enlarged constant image, a multiple of every stride


def show_receptive_field(unet: UNet, t: int = 500, image_size: int = 144) -> Panel:
    """Which pixels of the input one pixel of each stage sees.

    Args:
        unet: a trained network.
        t: the time that it is told.
        image_size: side of the input, which is noise; larger than the network's images, to see where windows end.
    """
    shape = (1, unet.settings["image_channels"], image_size, image_size)
    xt = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    seen = windows.stage_influences(windows.convolutions_only(unet), xt, t)
    found = {name: plots.Seen(name, each) for name, each in seen.items()}
    names = windows.stages(unet)
    down = names[: names.index("middle") + 1]
    formula = {name: windows.receptive_fields(windows.layers_down(unet, name))[-1].size for name in down}
    plot = plots.FieldPlot(list(found.values()), formula)

    @cache
    def everything(stage: str) -> plots.Seen:
        return plots.Seen(stage, windows.stage_influences(unet, xt, t, [stage])[stage])

    return Panel(
        "How far does a pixel of each stage see, and what widens its view most?",
        lambda stage, what: plot.draw(found[stage] if what == WHAT_COUNTS[0] else everything(stage), what),
        static=plots.fields_picture(list(found.values()), formula),
        stage=choice("stage", names),
        what=choice("what counts", WHAT_COUNTS),
    )


def show_checkerboard() -> Panel:
    """What upsampling makes of a constant image."""
    plot = plots.CheckerboardPlot(BOARD)

    def draw(method: str, kernel: int, stride: int, weights: str) -> Picture:
        weight = torch.ones(kernel, kernel)
        if weights != "all ones":
            weight.normal_(generator=torch.Generator().manual_seed(WEIGHTS.index(weights)))
        side = 2 * kernel + BOARD // stride
        output = enlarge(torch.ones(side, side), weight, stride, method)
        what = f"{method}, kernel {kernel}, stride {stride}, weights {weights}"
        return plot.draw(what, stride, taps(method, kernel, stride), output)

    ones, random = (draw(METHODS[0], 4, 2, weights) for weights in WEIGHTS[:2])
    return Panel(
        "When does upsampling draw a pattern on an image that has none?",
        draw,
        static=picture(stacked(ones.image(), random.image()), f"{ones.alt}. {random.alt}", SCALE),
        method=choice("method", METHODS),
        kernel=slider("kernel", 2, 7, 4),
        stride=slider("stride", 2, 4, 2),
        weights=choice("weights", WEIGHTS, "random 1"),
    )


def taps(method: str, kernel: int, stride: int) -> Tensor:
    """How many taps reach each of 4 x 4 pixels away from the border; after repeating, always all of them."""
    if method == "transposed":
        row = torch.tensor([taps_at(i % stride, kernel, stride) for i in range(4)])
        return row[:, None] * row
    return torch.full((4, 4), kernel**2)


def show_without_skips(diffusion: DenoiseDiffusion, x0: Tensor) -> Panel:
    """What the network still guesses when the skips of one up block, or of all, are zeros.

    Args:
        diffusion: a trained model whose network is a ``UNet``.
        x0: images, (B, C, H, W) in [-1, 1].
    """
    x0, names = x0.to(diffusion.device), up_blocks(diffusion.eps_model)
    off = {name: (name,) for name in names} | {"all": tuple(names)}

    @lru_cache(maxsize=256)
    def guess(t: int, which: str) -> Guess:
        return guess_without(diffusion, x0, t, off.get(which, ()))

    def draw(which: str, t: int) -> Picture:
        whole, cut = guess(t, "none"), guess(t, which)
        rows = {"x_0": x0, "x_t": whole.xt, "x0_hat": whole.x0_hat, "skip zeroed": cut.x0_hat}
        losses = {"whole": whole.loss, "without": cut.loss}
        shown = {name: images.cpu() for name, images in rows.items()}
        gone = "skips" if which == "all" else f"skip into {which}"
        return plots.without_skips_picture(shown, losses, f"t = {t}, no {gone}")

    return Panel(
        "Which skip does the trained network lean on, and does it depend on t?",
        draw,
        which=choice("skip taken from", list(off), names[-2]),
        t=slider("t", 0, diffusion.n_steps - 1, diffusion.n_steps // 4),
    )

"""The residual block: what its normalisation cannot see, and its feature maps as the time moves."""

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch06_residual_block.experiments import (
    BlockView,
    busiest,
    group_norm,
    look_inside,
    residual_blocks,
    shifts,
    surviving_shift,
)
from ddpm_lesson.lesson.ch06_residual_block.plots import BlockMaps, FeatureMapsPlot, GroupNormPlot, ShiftCurves
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.panel import Panel, choice, log_slider, slider, stops
from ddpm_lesson.unet import ResidualBlock


def show_group_norm(x: Tensor, eps: float = 1e-6) -> Panel:
    """A feature map disturbed before it is normalised.

    Args:
        x: (C, H, W); C a multiple of 8.
        eps: of the normalisation.
    """
    C = len(x)
    x = (x - x.mean()) / x.std()
    plot = GroupNormPlot(C, x[0].numel())

    def draw(scale: float, offset: float, shift: float, n_groups: int) -> Picture:
        disturbed = scale * x + offset
        disturbed[0] += shift
        y, undisturbed = (group_norm(values[None], n_groups, eps)[0] for values in (disturbed, x))
        what = f"times {scale:.2g}, plus {offset:g}, and {shift:+g} on channel 0"
        return plot.draw(disturbed.flatten(1), y.flatten(1), undisturbed.flatten(1), n_groups, what)

    return Panel(
        "What can you do to a feature map without the normalised one noticing?",
        draw,
        scale=log_slider("multiply all", -4, 0.7, 1.0),
        offset=slider("add to all", -10.0, 10.0, 0.0, 0.5),
        shift=slider("add to channel 0", -10.0, 10.0, 0.0, 0.5),
        n_groups=stops("groups", [g for g in (1, 2, 4, 8) if C % g == 0], 2),
    )


def show_feature_maps(diffusion: DenoiseDiffusion, x0: Tensor, n_maps: int = 6, n_times: int = 26) -> Panel:
    """Feature maps of a trained network's residual blocks, as t moves; always the same image and noise.

    The channels shown are those whose surviving shift varies most over t.

    Args:
        diffusion: a trained model with a U-Net.
        x0: one image, (1, 1, H, W) in [-1, 1].
        n_maps: channels shown.
        n_times: where the time can be set, evenly from 0 to T-1.
    """
    blocks = residual_blocks(diffusion.eps_model)
    times = torch.linspace(0, diffusion.n_steps - 1, n_times).round().long()
    xt, t = noised(diffusion, x0, times)
    views = look_inside(diffusion.eps_model, xt, t, blocks)
    shown = {name: MapsOverTime(diffusion, block, views[name], n_maps) for name, block in blocks.items()}
    plot = FeatureMapsPlot(n_maps, diffusion.n_steps, max(maps.largest for maps in shown.values()))

    def draw(name: str, t: int) -> Picture:
        maps, i = shown[name], times.tolist().index(t)
        H, W = maps.maps.before.shape[2:]
        where = f"Block {name}, maps of {H} x {W}, at t = {t}"
        return plot.draw(xt[i, 0].cpu(), maps.at_time(i), maps.limits, maps.curves._replace(t=t), where)

    return Panel(
        "Which channels does the time switch on and off?",
        draw,
        name=choice("block", blocks),
        t=stops("t", times.tolist(), int(times[n_times // 4])),
    )


def noised(diffusion: DenoiseDiffusion, x0: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """One image with one noise at all ``times``, (N, C, H, W), and the times, on the model's device."""
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)).to(diffusion.device)
    x0, t = x0.to(diffusion.device).expand(len(times), -1, -1, -1), times.to(diffusion.device)
    return diffusion.q_sample(x0, t, eps.expand_as(x0)), t


class MapsOverTime:
    """The busiest channels of a block, with one colour scale for all times.

    Args:
        diffusion: the model that the block belongs to.
        block: whose channels.
        view: its feature maps at some times.
        n_maps: how many channels.
    """

    def __init__(self, diffusion: DenoiseDiffusion, block: ResidualBlock, view: BlockView, n_maps: int):
        full = shifts(diffusion.eps_model, block, diffusion.n_steps).cpu()
        surviving = surviving_shift(full, block.norm2.num_groups)
        channels = busiest(surviving, n_maps)
        self.largest = float(surviving.abs().max())
        self.curves = ShiftCurves(channels, full[:, channels], surviving[:, channels], 0)
        self.maps = BlockMaps(*(v[:, channels].cpu() for v in (view.before, view.after, view.seen, view.answer)))
        before, after, _, answer = (float(v.abs().flatten().sort().values[-(v.numel() // 200 + 1)]) for v in self.maps)
        self.limits = [max(before, after)] * 2 + [1.0, answer]  # one scale before and after the shift

    def at_time(self, i: int) -> BlockMaps:
        """The maps at the i-th time."""
        return BlockMaps(*(v[i] for v in self.maps))

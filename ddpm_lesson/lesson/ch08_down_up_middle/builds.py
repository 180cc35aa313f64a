"""The build of notebook 08: down, up and a skip, wired together."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.adam import steps_of_adam, without_gradient
from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.lesson.kit.influence import influence
from ddpm_lesson.unet import Downsample, Upsample


class TwoLevels(nn.Module):
    """Two levels of a U-Net: x (B, n_channels, H, W) to the same shape, for sides of any length."""

    def __init__(self, n_channels):
        super().__init__()
        self.fine = nn.Conv2d(n_channels, n_channels, kernel_size=3, padding=1)
        self.down = Downsample(n_channels, "symmetric")  # 7 pixels become 4
        self.coarse = nn.Conv2d(n_channels, n_channels, kernel_size=3, padding=1)
        self.up = Upsample(n_channels)
        self.join = nn.Conv2d(2 * n_channels, n_channels, kernel_size=3, padding=1)

    def forward(self, x):
        skip = F.silu(self.fine(x))
        below = F.silu(self.coarse(self.down(skip)))
        below = self.up(below)[:, :, : x.shape[2], : x.shape[3]]  # 4 pixels became 8, and 7 are wanted
        return self.join(torch.cat((below, skip), dim=1))


def keeps_the_shape(built) -> str:
    """Maps of even sides, then of odd ones, and of one channel."""
    for shape in ((2, 4, 6, 10), (1, 1, 4, 2), (3, 2, 7, 5), (1, 2, 8, 3)):
        what = f"For sides of {shape[2]} and {shape[3]}, BUILT"
        if wrong := unlike(built(shape[1])(numbers(*shape, seed=1)), shape, what=what):
            return wrong
    return ""


def sees_far(built) -> str:
    """From two neighbours of the answer, by autograd, to the farthest pixels that matter, up, down, left and right."""
    x = numbers(1, 2, 24, 32, seed=2).double().requires_grad_()
    y = built(2).double()(x)
    seen = influence(y, x, (12, 16)) + influence(y, x, (13, 17)) > 0
    for start, dim, ways in ((12, 0, "up and {} down"), (16, 1, "to the left and {} to the right")):
        places = torch.nonzero(seen.any(1 - dim)).flatten()
        before, after = start - int(places[0]), int(places[-1]) - start - 1
        if min(before, after) < 4 or abs(before - after) > 2:
            far = f"{before} {ways.format(after)}"
            return f"A pixel of the answer depends on pixels up to {far}; far and evenly is wanted, 4 at least."
    return ""


def halves_and_doubles(built) -> str:
    """Far from the border, shifting by two must commute with the module, and shifting by one must not."""
    x, net = numbers(1, 2, 32, 40, seed=3).double(), built(2).double()
    for dim in (2, 3):
        off = {}
        for step in (1, 2):
            difference = net(x.roll(step, dim)) - net(x).roll(step, dim)
            off[step] = float(difference[..., 12:-12, 12:-12].detach().abs().max())
        if off[1] < 1e-6:
            return "A shift by one pixel only shifts the answer: nothing in it works on a map of half the sides."
        if off[2] > 1e-9:
            return (
                "A shift by two pixels does more than shift the answer: some map is not half as high and half as wide."
            )
        n = x.shape[dim] - 1
        odd = (net(x.narrow(dim, 0, n)) - net(x).narrow(dim, 0, n))[..., 12:-12, 12:-12]
        if odd.detach().abs().max() > 1e-9:
            return "Where a side is odd, what comes from below is one pixel off: which end is to be cut?"
    return ""


def goes_past_the_lower_level(built) -> str:
    """Every map with shorter sides is set to zero: single pixels must still reach the answer."""

    def cut(_: nn.Module, __: tuple, output: Tensor) -> Tensor:
        return output * 0 if output.ndim == 4 and output.shape[2] < 16 else output

    net = built(2).double()
    for module in net.modules():
        module.register_forward_hook(cut)
    x = numbers(1, 2, 16, 12, seed=4).double().requires_grad_()
    seen = influence(net(x), x)
    return "" if seen.any() else "With nothing but zeros on the lower level the answer does not depend on x: no skip."


def bends(built) -> str:
    """What crosses and what goes up again has come through Swish: the answers of the convolutions, one by one."""
    net, x, calls = built(2).double(), 3 * numbers(1, 2, 8, 6, seed=5).double(), []
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(lambda _, given, answer: calls.append((given[0], answer)))
    net(x)
    if not any(torch.allclose(part, F.silu(calls[0][1])) for part in calls[-1][0].split(2, dim=1)):
        return "The last convolution is not given what the first one answers, behind `F.silu`: that is the skip."
    below = max(i for i, (_, answer) in enumerate(calls) if answer.shape[2] < 8)
    if calls[below + 1][0].min() < -0.279:  # the valley of Swish
        return "What the lower level's convolution answers goes up without `F.silu`."
    return ""


def learns(built) -> str:
    """Noise on flat grey maps, all pixels -1 or all 1: to find it asks for far sight and for detail."""
    net = built(4)

    def loss() -> Tensor:
        eps = torch.randn(32, 4, 8, 6)
        return (net(eps + torch.randn(32, 1, 1, 1).sign()) - eps).square().mean()

    last = steps_of_adam(net, loss, 150, lr=0.02)[-1]
    large = f"Trained to find the noise on flat grey maps, its error is {last:.2f}; 0.25 is easy." * (last > 0.25)
    return without_gradient(net) or large


build_TwoLevels = Build(
    TwoLevels,
    (
        Stage(keeps_the_shape).says("""
            Halving an odd side must round one way, and doubling cannot know what it was. Who does know?
            `Downsample(n_channels, 'symmetric')` rounds up; after `up`, cut the map to the sides of `x`:
                `[:, :, : x.shape[2], : x.shape[3]]`."""),
        Stage(sees_far).says("""
            Does what comes from below enter the answer at all? And does each 3x3 convolution pad by one?
            `torch.cat((below, skip), dim=1)`, and a convolution over both; `padding=1` on every level."""),
        Stage(halves_and_doubles).says("""
            Look at the sides of each map on the way: between the two ends one should be half as large.
            `self.down(skip)` before the coarse convolution, `self.up` behind it, each once."""),
        Stage(goes_past_the_lower_level).says("""
            Everything went down. What should cross at full resolution?
            Keep the map from before `down`, and give it to the last convolution:
                `torch.cat((below, skip), dim=1)`."""),
        Stage(bends).says("""
            Which map crosses: what came in, what the first convolution made of it, or that behind its bend?
            `skip = F.silu(self.fine(x))` and `below = F.silu(self.coarse(self.down(skip)))`."""),
        Stage(learns).says("""
            Is every layer used, and can the gradient pass? Has the answer an activation behind it?
            Call each layer of `__init__` once in `forward`; end with the plain convolution: noise has both signs."""),
    ),
    "Single pixels cross by the skip, and what many pixels say together comes from below. "
    "Put a second one in the place of `coarse`, and you have three levels: so notebooks 09 and 13 go on.",
)

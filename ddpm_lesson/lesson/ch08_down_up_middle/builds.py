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


def asked(net: nn.Module, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """What a network answers, and what each of its convolutions was given and answered, in their order."""
    calls: list[tuple[Tensor, Tensor]] = []
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(lambda _, given, answer: calls.append((given[0], answer)))
    return net(x), calls


def has_its_parts(built) -> str:
    """Five convolutions without norms, of which the second halves both sides and the fourth has them doubled."""
    net = built(2)
    for kind in (type(layer).__name__ for layer in net.modules() if type(layer).__module__.startswith("torch.")):
        if "Norm" in kind:
            return f"There is `{kind}` in BUILT: here it is asked for without norms."
        if "Transpose" in kind:
            return f"There is `{kind}` in BUILT: `Upsample` copies pixels, and its convolution has stride 1."
    sides = [f"{answer.shape[2]} x {answer.shape[3]}" for _, answer in asked(net, numbers(1, 2, 8, 6, seed=5))[1]]
    right = ["8 x 6", "4 x 3", "4 x 3", "8 x 6", "8 x 6"]
    wrong = f"From a map of 8 x 6 its convolutions make {', '.join(sides)}; {', '.join(right)} are wanted."
    return wrong if sides != right else ""


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
    """Far from the border, shifting by two must commute with the module, and so must cutting off the last pixel."""
    x, net = numbers(1, 2, 32, 40, seed=3).double(), built(2).double()
    for dim in (2, 3):
        n = x.shape[dim] - 1
        shifted = net(x.roll(2, dim)) - net(x).roll(2, dim)
        odd = net(x.narrow(dim, 0, n)) - net(x).narrow(dim, 0, n)
        if shifted[..., 12:-12, 12:-12].abs().max() > 1e-9:
            return "A shift by two pixels does more than shift the answer: some map is not half as high and as wide."
        if odd[..., 12:-12, 12:-12].abs().max() > 1e-9:
            return "Where a side is odd, what comes from below is one pixel off: which end is to be cut?"
    return ""


def joins_both(built) -> str:
    """The last convolution sees both maps, side by side."""
    channels = asked(built(2), numbers(1, 2, 8, 6, seed=5))[1][4][0].shape[1]
    wrong = f"The last convolution gets {channels} channels where 4 are wanted: both maps, side by side and not added."
    return wrong if channels != 4 else ""


def bends(built) -> str:
    """What crosses and what goes up again has come through Swish, and the last convolution has the last word."""
    answer, calls = asked(built(2).double(), 3 * numbers(1, 2, 8, 6, seed=5).double())
    if not any(torch.allclose(part, F.silu(calls[0][1])) for part in calls[4][0].split(2, dim=1)):
        return "The last convolution is not given what the first one answers, behind `F.silu`: that is the skip."
    if not torch.allclose(calls[3][0], F.interpolate(F.silu(calls[2][1]), scale_factor=2)):
        return "What the lower level's convolution answers does not go up through `F.silu` and `Upsample`."
    if not torch.allclose(answer, calls[4][1]):
        return "The answer is not that of the last convolution: something is done or added behind it."
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
        Stage(has_its_parts).says("""
            Which parts does the text list, in their order? Each is called once, and nothing else has weights.
            A 3x3 convolution, `Downsample`, a 3x3 convolution, `Upsample`, and the last one over both maps."""),
        Stage(sees_far).says("""
            Does what comes from below enter the answer at all? And does each 3x3 convolution pad by one?
            `torch.cat((below, skip), dim=1)`, and a convolution over both; `padding=1` on every level."""),
        Stage(halves_and_doubles).says("""
            Pixel i of the lower map belongs to pixel 2i above. Which of the doubled pixels is one too many?
            Cut the last row and column and never the first: `[:, :, : x.shape[2], : x.shape[3]]`."""),
        Stage(joins_both).says("""
            Everything went down. What should cross at full resolution?
            Keep the map from before `down`, and give it to the last convolution:
                `torch.cat((below, skip), dim=1)`."""),
        Stage(bends).says("""
            Which map crosses: what came in, what the first convolution made of it, or that behind its bend?
            `skip = F.silu(self.fine(x))` and `below = F.silu(self.coarse(self.down(skip)))`; nothing behind
                `self.join`."""),
        Stage(learns).says("""
            Is every layer used, and can the gradient pass?
            Call each layer of `__init__` once in `forward`, without `detach` or `no_grad`."""),
    ),
    "Single pixels cross by the skip, and what many pixels say together comes from below. "
    "Put a second one in the place of `coarse`, and you have three levels: so notebooks 09 and 13 go on.",
)

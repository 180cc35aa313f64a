"""The build of notebook 09: a small U-Net from the blocks of 05 to 08."""

from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.ch09_unet.experiments import randomised
from ddpm_lesson.lesson.kit.adam import steps_of_adam, without_gradient
from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.lesson.kit.xray import hooked
from ddpm_lesson.unet import AttentionBlock, Downsample, ResidualBlock, TimeEmbedding, Upsample

SETTINGS = ((1, 8, (1, 2)), (3, 8, (1,)), (2, 12, (1, 2, 3)))  # image_channels, n_channels, ch_mults


class SmallUNet(nn.Module):
    """The noise in xt (B, image_channels, H, W) at times t (B,): one block a level down, and one up."""

    def __init__(self, image_channels, n_channels, ch_mults):
        super().__init__()
        widths = [n_channels * mult for mult in ch_mults]
        block = {"time_channels": 4 * n_channels, "n_groups": 4, "dropout": 0.0}
        self.time_emb = TimeEmbedding(4 * n_channels)
        self.first = nn.Conv2d(image_channels, n_channels, kernel_size=3, padding=1)
        self.down, self.shrink, self.grow, self.up = (nn.ModuleList() for _ in range(4))
        channels = n_channels
        for width in widths[:-1]:
            self.down.append(ResidualBlock(channels, width, **block))
            self.shrink.append(Downsample(width))
            channels = width
        self.enter = ResidualBlock(channels, widths[-1], **block)
        self.attend = AttentionBlock(widths[-1], n_groups=4)
        self.leave = ResidualBlock(widths[-1], widths[-1], **block)
        channels = widths[-1]
        for width in reversed(widths[:-1]):
            self.grow.append(Upsample(channels))
            self.up.append(ResidualBlock(channels + width, width, **block))
            channels = width
        self.norm = nn.GroupNorm(4, channels)
        self.last = nn.Conv2d(channels, image_channels, kernel_size=3, padding=1)

    def forward(self, xt, t):
        t_emb, x, kept = self.time_emb(t), self.first(xt), []
        for block, shrink in zip(self.down, self.shrink):  # noqa: B905
            x = block(x, t_emb)
            kept.append(x)
            x = shrink(x)
        x = self.leave(self.attend(self.enter(x, t_emb)), t_emb)
        for grow, block in zip(self.grow, self.up):  # noqa: B905
            x = block(torch.cat((grow(x), kept.pop()), dim=1), t_emb)
        return self.last(F.silu(self.norm(x)))


def case(image_channels: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Three images of 8 x 12 pixels and their times, both ends among them."""
    return numbers(3, image_channels, 8, 12, seed=seed), torch.tensor([0, 999, 300])


def gives_noise(built) -> str:
    """The shape of xt, for one level to three."""
    for setting in SETTINGS:
        xt, t = case(setting[0])
        wrong = unlike(randomised(built(*setting).eval())(xt, t), xt.shape, what=f"SmallUNet{setting}")
        if wrong:
            return wrong
    return ""


def judges_each_image(built) -> str:
    """An image alone gets the answer that it gets in a batch, and another t gets another answer, whatever the level."""
    for setting in SETTINGS:
        net, (xt, t) = randomised(built(*setting).eval()), case(setting[0])
        size = float(net(xt, t).std().detach())
        if unlike(net(xt[1:2], t[1:2]), net(xt, t)[1:2], 1e-4 * size):
            return "The answer for an image depends on the others in the batch, or on their times."
        later = (net(xt, t + 100) - net(xt, t)).detach()
        if not later.flatten(1).abs().amax(1).gt(1e-4 * size).all():
            return "Another t changes nothing: does `t_emb` reach the blocks?"
        if unlike(net.train()(xt, t), net(xt, t), 1e-4 * size):
            return "In training mode two passes give two answers: the residual blocks want `dropout=0.0` here."
    return ""


def maps_of(net: nn.Module, xt: Tensor, t: Tensor, change=lambda level, place, output: output) -> list:
    """Level and channels of each map that a module makes, in order; ``change`` may put another in its place."""
    made = []

    def note(_: nn.Module, __: tuple, output: Tensor) -> Tensor | None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            return None
        level = (xt.shape[2] // output.shape[2]).bit_length() - 1
        made.append((level, output.shape[1]))
        return change(level, len(made) - 1, output)

    with hooked(module.register_forward_hook(note) for module in net.modules() if module is not net):
        made.append(net(xt, t))
    return made


def has_its_levels(built) -> str:
    """As many levels as ``ch_mults`` has entries, each of its width, by the maps that the modules make."""
    for setting in SETTINGS:
        *made, _ = maps_of(randomised(built(*setting).eval()), *case(setting[0]))
        found = sorted({level for level, _ in made})
        if found != list(range(len(setting[2]))):
            return f"SmallUNet{setting} makes maps on levels {found}; wanted are {list(range(len(setting[2])))}."
        for level, mult in enumerate(setting[2]):
            seen = sorted({channels for at, channels in made if at == level})
            if mult * setting[1] not in seen:
                return f"Level {level} of SmallUNet{setting} must work with {mult * setting[1]} channels; seen: {seen}."
    return ""


def has_its_blocks(built) -> str:
    """The blocks of the task, by the names of their classes, which may be the learner's own."""
    for setting in SETTINGS:
        halvings = len(setting[2]) - 1
        wanted = {"ResidualBlock": 2 * halvings + 2, "AttentionBlock": 1, "Downsample": halvings, "Upsample": halvings}
        found = Counter(type(module).__name__ for module in built(*setting).modules())
        for name, count in wanted.items():
            if found[name] < count:
                return f"SmallUNet{setting} has {found[name]} of `{name}`; this plan needs {count}."
    return ""


def keeps_its_maps(built) -> str:
    """Each level's last map on the way down is changed, all maps of lower levels are zeros: the answer must change."""
    setting = SETTINGS[2]
    net, (xt, t) = randomised(built(*setting).eval()), case(setting[0])
    *made, _ = maps_of(net, xt, t)
    for level in range(len(setting[2]) - 1):
        last = next(i for i, (at, _) in enumerate(made) if at > level) - 1

        def cut(at: int, place: int, output: Tensor, level=level) -> Tensor:
            return output * 0 if at > level else output

        def bent(at: int, place: int, output: Tensor, last=last, cut=cut) -> Tensor:
            return output + output.flip(2) if place == last else cut(at, place, output)

        if torch.equal(maps_of(net, xt, t, cut)[-1], maps_of(net, xt, t, bent)[-1]):
            return f"What level {level} made on the way down reaches the way up by lower levels only: it is not kept."
        xt = xt.detach().requires_grad_()
        if not torch.autograd.grad(maps_of(net, xt, t, cut)[-1].sum(), xt)[0].any():
            return f"The map that level {level} keeps arrives, but no gradient comes back from it."
    return ""


def learns(built) -> str:
    """Flat images, all pixels -1 or all 1: at t = 1 one pixel tells little of that, and all together everything."""
    net, alpha_bar = built(1, 8, (1, 2)), torch.tensor([0.9, 0.3])

    def loss() -> Tensor:
        eps, t = torch.randn(32, 1, 4, 8), torch.randint(2, (32,))
        a = alpha_bar[t].view(-1, 1, 1, 1)
        return (net(a.sqrt() * torch.randn(32, 1, 1, 1).sign() + (1 - a).sqrt() * eps, t) - eps).square().mean()

    mean = sum(steps_of_adam(net, loss, 80, lr=5e-3)[-10:]) / 10
    large = f"Trained for 80 steps on flat images its loss is {mean:.2f}; below 0.2 is easy." * (not mean < 0.2)
    return without_gradient(net) or large


build_SmallUNet = Build(
    SmallUNet,
    (
        Stage(gives_noise).says("""
            Write down the channels that each module gets and gives, level by level, on paper first.
            An up block gets the channels from below plus those of the kept map:
                `ResidualBlock(channels + width, width, ...)`. `n_groups=4` divides all widths here."""),
        Stage(judges_each_image).says("""
            The time is embedded once and goes to every residual block.
            `t_emb = self.time_emb(t)`, then `block(x, t_emb)` everywhere."""),
        Stage(has_its_levels).says("""
            `ch_mults` has one entry a level; between two levels stands one halving, and none behind the last.
            The way down goes over `widths[:-1]`, block and `Downsample`; the middle works with `widths[-1]`."""),
        Stage(has_its_blocks).says("""
            One residual block a level down and one up; on the last level two, with attention between them.
            `self.leave(self.attend(self.enter(x, t_emb)), t_emb)`; `Downsample` and `Upsample` for each halving."""),
        Stage(keeps_its_maps).says("""
            Each map from before a halving goes on a pile, and the way up takes them back, the last one first.
            `kept.append(x)` between block and `Downsample`; `torch.cat((grow(x), kept.pop()), dim=1)` on the way
                up."""),
        Stage(learns).says("""
            The plan is right. Is each module called, and does the answer end in a plain convolution?
            Norm, activation, convolution at the end: noise has both signs."""),
    ),
    "It is the network of notebook 13, and it is yours. The package's adds a second block a level, and attention where "
    "you ask for it.",
)

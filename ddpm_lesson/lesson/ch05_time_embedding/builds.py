"""What notebook 05 builds: the embedding as a module."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.schedule import NoiseSchedule

TIMES = torch.tensor([999, 0, 1, 250, 37])


class TimeEmbedding(nn.Module):
    """t (B,), whole numbers, to a vector each, (B, n_channels): n_channels / 4 sinusoids, then two layers."""

    def __init__(self, n_channels):
        super().__init__()
        self.half = n_channels // 8
        self.layers = nn.Sequential(nn.Linear(2 * self.half, n_channels), nn.SiLU(), nn.Linear(n_channels, n_channels))

    def forward(self, t):
        hands = torch.arange(self.half, device=t.device)
        angle = t[:, None] * 10_000 ** (-hands / (self.half - 1))  # (B, half)
        return self.layers(torch.cat((angle.sin(), angle.cos()), dim=1))


def gives_vectors(build: Callable[..., Any]) -> str | None:
    """A module, and a vector of the right size for every time."""
    for n_channels, times in ((16, TIMES), (40, TIMES[:3]), (64, TIMES[:1])):
        module = build(n_channels)
        if not isinstance(module, nn.Module):
            return f"BUILT must be an nn.Module; got {type(module).__name__}."
        finding = unlike(module(times), (len(times), n_channels), what=f"`TimeEmbedding({n_channels})`")
        if finding:
            return f"{finding} (`t` has shape {tuple(times.shape)}.)"
    return None


def layers_of(module: nn.Module) -> list[nn.Linear]:
    """Its linear layers, in the order in which they are asked."""
    asked: list[nn.Linear] = []
    hooks = [m.register_forward_hook(lambda m, *_: asked.append(m)) for m in module.modules() if type(m) is nn.Linear]
    with torch.no_grad():
        module(TIMES)
    for hook in hooks:
        hook.remove()
    return asked


def two_layers(build: Callable[..., Any]) -> str | None:
    """The sizes of the layers, and nothing else that is learned."""
    module = build(40)
    sizes = [(layer.in_features, layer.out_features) for layer in layers_of(module)]
    if sizes != [(10, 40), (40, 40)]:
        return (
            f"The linear layers of `TimeEmbedding(40)` are asked in this order: {sizes}; wanted: [(10, 40), (40, 40)]."
        )
    learned, wanted = sum(p.numel() for p in module.parameters()), 11 * 40 + 41 * 40
    if learned != wanted:
        return f"`TimeEmbedding(40)` learns {learned:,} numbers; two layers with their biases have {wanted:,}."
    return None


def clocks(build: Callable[..., Any]) -> str | None:
    """What reaches the first layer, against hands turned as complex numbers."""
    for half in (2, 5, 16):
        module, seen = build(8 * half), []
        layers_of(module)[0].register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        module(TIMES)
        turn = torch.linspace(0, -math.log(10_000), half, dtype=torch.float64).exp()
        hands = torch.exp(1j * turn) ** TIMES[:, None]  # each step multiplies by the same rotation
        wanted = torch.cat((hands.imag, hands.real), 1)
        finding = unlike(seen[0], wanted, 1e-3, f"At the times {TIMES.tolist()} the first layer of BUILT")
        if finding:
            return finding.replace(" gave ", " is given ")
    return None


def bend_between(build: Callable[..., Any]) -> str | None:
    """The whole, against PyTorch's functions with the module's own weights."""
    module = build(40)
    first, second = layers_of(module)
    seen: list[Tensor] = []
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    got = module(TIMES)
    wanted = F.linear(F.silu(F.linear(seen[0], first.weight, first.bias)), second.weight, second.bias)
    return unlike(got, wanted.detach(), 1e-5, "BUILT, of which the layers are fine,")


def learns(build: Callable[..., Any]) -> str | None:
    """Whether 150 steps are enough to tell the noise of any time in decibels."""
    module, head = build(64), nn.Linear(64, 1)
    decibels = 10 * NoiseSchedule.linear().snr.log10()
    target = (decibels - decibels.mean()) / decibels.std()
    optimizer = torch.optim.Adam([*module.parameters(), *head.parameters()], 3e-3)
    for _ in range(150):
        t = torch.randint(1000, (128,))
        loss = F.mse_loss(head(F.silu(module(t)))[:, 0], target[t])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    idle = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    if idle:
        return f"After a training, no gradient has reached `{idle[0]}` of BUILT."
    if not float(loss.detach()) < 0.05:
        return (
            f"150 steps of training left {float(loss.detach()):.2f} of the variance of the noise level; 0.05 is easy."
        )
    return None


build_TimeEmbedding = Build(
    TimeEmbedding,
    [
        Stage(
            gives_vectors,
            "A class that inherits from `nn.Module`, with `super().__init__()` first; `forward(self, t)` returns "
            "(B, n_channels).",
            "There are `n_channels // 8` hands: sines and cosines make `n_channels // 4` numbers for the first layer.",
        ),
        Stage(
            two_layers,
            "Two linear layers, the first from the sinusoids to `n_channels`. The clocks themselves learn nothing.",
            "`nn.Linear(n_channels // 4, n_channels)` and `nn.Linear(n_channels, n_channels)`, made in `__init__`.",
        ),
        Stage(
            clocks,
            "(5.3): the fastest hand makes 1 radian a step, the slowest 1/10,000; all sines, then all cosines.",
            "`10_000 ** (-hands / (half - 1))`, where `half` is the number of hands: an eighth of `n_channels`.",
        ),
        Stage(
            bend_between,
            "(5.7): layer, bend, layer. How many bends, and which?",
            "One `nn.SiLU`, between the two layers and not behind the second: each block bends for itself.",
        ),
        Stage(
            learns,
            "The forward pass is right. Does every weight get a gradient?",
            "No `detach`, no `no_grad`, no `.data` in `forward`.",
        ),
    ],
    "In 150 steps a layer behind it had learned to tell the noise level of any of the 1000 times in decibels: fast "
    "hands, slow hands and one bend are enough for that.",
)

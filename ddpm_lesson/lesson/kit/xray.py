"""Look into a network: what every layer is, costs and answers."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from ddpm_lesson.sample import eval_mode
from ddpm_lesson.unet import AttentionBlock, Downsample, MiddleBlock, UNet, UpBlock, Upsample

LEAVES = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.GroupNorm, AttentionBlock)


class Layer(NamedTuple):
    """One layer of a network, for one image."""

    name: str  # as in ``named_modules``, such as "down.0.res.conv1"
    kind: str  # the name of its class
    shape: tuple[int, ...]  # of its output, (C, H, W) or (N,) or (H*W, C)
    parameters: int  # its own: an AttentionBlock has none beyond those of its layers
    macs: int  # multiply-adds; those of an AttentionBlock are its two matrix products


def blank_unet(**settings: Any) -> UNet:
    """A U-Net whose weights take no time and hold nothing, to look at how it is built.

    Args:
        settings: as in ``UNet``.

    Raises:
        ValueError: as ``UNet``.
    """
    with Unfilled():
        return UNet(**settings)


class Unfilled(TorchFunctionMode):
    """Inside this, no tensor is initialised: memory is reserved and never touched."""

    FILL = frozenset(("kaiming_uniform_", "xavier_uniform_", "uniform_", "normal_", "fill_", "zero_"))

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in self.FILL:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def layers(model: UNet, image_size: int) -> list[Layer]:
    """Every layer with weights, and every attention, in the order in which the network finishes them.

    The network is run on a batch of no images, which tells all shapes and computes nothing.

    Args:
        model: the network, with or without sensible weights (see ``blank_unet``).
        image_size: height and width of the images.

    Raises:
        ValueError: if the network cannot halve such images often enough.
    """

    def layer(name: str, module: nn.Module, _: tuple, output: Tensor) -> Layer:
        own = 0 if isinstance(module, AttentionBlock) else sum(p.numel() for p in module.parameters())
        shape = tuple(output.shape[1:])
        return Layer(name, type(module).__name__, shape, own, macs(module, shape))

    device = next(model.parameters()).device
    xt = torch.empty(0, model.settings["image_channels"], image_size, image_size, device=device)
    looked_at = [name for name, module in model.named_modules() if isinstance(module, LEAVES)]
    return list(watched_pass(model, xt, torch.empty(0, device=device), looked_at, layer).values())


def macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds of a layer for one output of this shape; normalisations and activations count as none."""
    if isinstance(module, AttentionBlock):
        tokens = shape[1] * shape[2]
        return module.n_heads * 2 * tokens**2 * module.d_k  # q k^T, and the map times v
    if isinstance(module, nn.ConvTranspose2d):
        return math.prod(shape) // math.prod(module.stride) * module.weight[:, 0].numel()
    if isinstance(module, nn.Conv2d | nn.Linear):
        return math.prod(shape) * module.weight[0].numel()
    return 0


def counted_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of a module as torch counts them while it runs: half its floating-point operations."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        eval_mode(module)(*inputs)
    return counter.get_total_flops() // 2


def attention_parameters(n_channels: int) -> int:
    """Weights of an attention block whose heads together are as wide as the feature map: norm, q, k and v, output."""
    return 4 * n_channels**2 + 6 * n_channels


def activations(model: nn.Module, xt: Tensor, t: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """What the named modules answer in one pass, in evaluation mode and without gradients.

    Args:
        model: the network, called with ``xt`` and ``t``.
        xt: noisy images, (B, C, H, W).
        t: their times, (B,).
        names: of modules, as in ``named_modules``.

    Raises:
        ValueError: if the network has no module of that name.
    """
    return watched_pass(model, xt, t, names, lambda name, module, inputs, output: output)


@torch.no_grad()
def watched_pass(
    model: nn.Module, xt: Tensor, t: Tensor, names: Iterable[str], look: Callable[..., Any]
) -> dict[str, Any]:
    """Run the model once; by name, what ``look(name, module, inputs, output)`` says of each named module.

    In the order in which they finish, in evaluation mode and without gradients.
    """
    seen: dict[str, Any] = {}

    def note(name: str, *what: Any) -> None:
        seen[name] = look(name, *what)

    modules, names = dict(model.named_modules()), list(names)
    for name in names:
        if name not in modules:
            raise ValueError(f"names must be of modules; the network has no {name!r}, it has {', '.join(modules)}")
    with hooked(modules[name].register_forward_hook(partial(note, name)) for name in names):
        eval_mode(model)(xt, t)
    return seen


@contextmanager
def hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """While this lasts, the hooks are in place."""
    placed = list(hooks)
    try:
        yield
    finally:
        for hook in placed:
            hook.remove()


class Part(NamedTuple):
    """One module of the U-Net's forward pass, and where it stands."""

    name: str  # as in ``named_modules``, such as "down.2"
    module: nn.Module
    way: str  # time, down, middle, up or out
    level: int  # of its output: 0 has the sides of the image, 1 half of them, and so on

    @property
    def channels(self) -> tuple[int, int]:
        """Channels in and out; those of the kept map count as coming in."""
        first: Any = self.module.res1 if isinstance(self.module, MiddleBlock) else getattr(self.module, "res", None)
        conv: Any = first.conv1 if first else getattr(self.module, "conv", self.module)
        return conv.in_channels, conv.out_channels

    @property
    def has_attn(self) -> bool:
        """Whether there is attention in it."""
        return isinstance(getattr(self.module, "attn", None), AttentionBlock)


def parts(unet: UNet) -> list[Part]:
    """The modules of a U-Net in the order of the forward pass."""
    found = [Part("time_emb", unet.time_emb, "time", 0), Part("image_proj", unet.image_proj, "down", 0)]
    level = 0
    for i, module in enumerate(unet.down):
        level += isinstance(module, Downsample)
        found.append(Part(f"down.{i}", module, "down", level))
    found.append(Part("middle", unet.middle, "middle", level))
    for i, module in enumerate(unet.up):
        level -= isinstance(module, Upsample)
        found.append(Part(f"up.{i}", module, "up", level))
    return [*found, Part("norm", unet.norm, "out", 0), Part("final", unet.final, "out", 0)]


def bridges(unet: UNet) -> list[tuple[Part, Part]]:
    """Every part whose output is kept with the part that takes it in, in the order in which they are taken."""
    kept, pairs = [], []
    for part in parts(unet):
        if part.way == "down":
            kept.append(part)
        elif isinstance(part.module, UpBlock):
            pairs.append((kept.pop(), part))
    return pairs

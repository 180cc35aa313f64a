"""The build of notebook 07: attention with heads as a module."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.ch07_attention_block.experiments import lively, shuffled
from ddpm_lesson.lesson.kit.adam import steps_of_adam
from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.exercise import numbers

SIZES = ((4, 1, 2), (12, 3, 4), (8, 4, 1))  # channels, heads, groups


class AttentionBlock(nn.Module):
    """Look at all pixels of x (B, C, H, W) with several heads, and add what was seen."""

    def __init__(self, n_channels, n_heads, n_groups):
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.GroupNorm(n_groups, n_channels)
        self.projection = nn.Linear(n_channels, 3 * n_channels)  # all queries, then all keys, then all values
        self.output = nn.Linear(n_channels, n_channels)

    def forward(self, x):
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        parts = self.projection(tokens).chunk(3, dim=-1)
        q, k, v = (part.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for part in parts)
        weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(dim=3)
        heads = (weights @ v).transpose(1, 2).flatten(2)
        return x + self.output(heads).transpose(1, 2).reshape(x.shape)


def has_its_layers(built) -> str:
    """The three layers that the task names, of the right sizes, and a map of the shape that came in."""
    for n_channels, n_heads, n_groups in SIZES:
        block, x = lively(built(n_channels, n_heads, n_groups)), numbers(2, n_channels, 3, 5, seed=1).double()
        wanted = {"norm": (n_channels,), "projection": (3 * n_channels, n_channels), "output": (n_channels, n_channels)}
        for name, shape in wanted.items():
            layer = getattr(block, name, None)
            if not isinstance(layer, nn.GroupNorm if name == "norm" else nn.Linear):
                return f"A block has no layer `{name}` of the kind that is asked for; got {layer!r}."
            if (got := tuple(layer.weight.shape)) != shape:
                return f"The weight of `{name}` must be {shape} for {n_channels} channels; got {got}."
        if block.norm.num_groups != n_groups:
            return f"`norm` must have {n_groups} groups; got {block.norm.num_groups}."
        if wrong := unlike(block(x), x.shape, what="A block"):
            return wrong
    return ""


def is_a_bag_of_pixels(built) -> str:
    """Shuffle pixels and apply the block, or apply it and shuffle: (7.6)."""
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    for size in SIZES:
        block, x = lively(built(*size)), numbers(2, size[0], 3, 5, seed=2).double()
        if unlike(block(shuffled(x, order)), shuffled(block(x), order), 1e-10):
            return f"Shuffling the pixels of a map changed more than their order, with {size[1]} head(s)."
        if unlike(block(x[1:]), block(x)[1:], 1e-10):
            return f"What a block gives for an image depends on who else is in the batch, with {size[1]} head(s)."
    return ""


def agrees_with_pytorch(built) -> str:
    """Against ``nn.MultiheadAttention`` with the same weights."""
    for n_channels, n_heads, n_groups in SIZES:
        block, x = lively(built(n_channels, n_heads, n_groups)), 1 + 2 * numbers(2, n_channels, 3, 5, seed=3).double()
        theirs = nn.MultiheadAttention(n_channels, n_heads, batch_first=True).double()
        theirs.in_proj_weight.data, theirs.in_proj_bias.data = block.projection.weight.data, block.projection.bias.data
        theirs.out_proj.load_state_dict(block.output.state_dict())
        tokens = F.group_norm(x, n_groups, block.norm.weight, block.norm.bias, block.norm.eps).flatten(2).mT
        right = x + theirs(tokens, tokens, tokens)[0].mT.reshape(x.shape)
        if wrong := unlike(block(x), right, 1e-9, f"A block of {n_channels} channels with {n_heads} head(s)"):
            return f"{wrong} (Held against `nn.MultiheadAttention` with the same weights.)"
    return ""


def two_ends(n: int) -> tuple[Tensor, Tensor]:
    """Rows of 1x9 pixels, each end -1 or 1, the middle 0, (n, 2, 1, 9), and what is at the other end, (n, 1, 1, 9).

    Channel 1 tells the left end from the right.
    """
    x, wanted = torch.zeros(n, 2, 1, 9), torch.zeros(n, 1, 1, 9)
    x[:, 0, 0, [0, 8]] = numbers(n, 2, seed=4).sign()
    x[:, 1, 0, 0], x[:, 1, 0, 8] = 1, -1
    wanted[..., [0, 8]] = x[:, :1, :, [8, 0]]
    return x, wanted


def learns(built) -> str:
    """A task that needs far sight: say at one end of a row what stands at the other end."""
    net = nn.Sequential(nn.Conv2d(2, 8, 1), built(8, 2, 2), nn.Conv2d(8, 8, 1), nn.SiLU(), nn.Conv2d(8, 1, 1))
    x, wanted = two_ends(64)
    losses = steps_of_adam(net, lambda: (net(x) - wanted).square().mean(), 150, lr=0.02)
    parts = {name: weight.grad for name, weight in net[1].named_parameters()}
    if parts["projection.weight"] is not None:
        thirds = parts["projection.weight"].chunk(3)
        parts |= {f"projection.weight, {part}": grad for part, grad in zip("qkv", thirds, strict=True)}
    idle = [name for name, grad in parts.items() if grad is None or not grad.any()]
    if idle:
        return f"After a backward pass `{idle[0]}` has no gradient: it would never learn."
    share = losses[-1] / float(wanted.square().mean())
    return "" if share < 0.1 else f"Trained to tell what stands at the other end of a row, it missed {share:.0%} of it."


build_AttentionBlock = Build(
    AttentionBlock,
    (
        Stage(has_its_layers).says("""
            The task names three layers and what each turns into what.
            `nn.GroupNorm(n_groups, n_channels)`, `nn.Linear(n_channels, 3 * n_channels)` and
                `nn.Linear(n_channels, n_channels)`; at the end back to the shape of `x`."""),
        Stage(is_a_bag_of_pixels).says("""
            Somewhere numbers of different pixels, or images, fall into one row. Where do you change shapes?
            `flatten(2).transpose(1, 2)` makes tokens; `unflatten(2, (n_heads, -1)).transpose(1, 2)` makes heads; the
                way back is the same in reverse order. The softmax is over the last axis of (B, heads, N, N)."""),
        Stage(agrees_with_pytorch).says("""
            All shapes are right, so look at the steps between: the norm in front, queries before keys before values,
                the scale of *one head*, the softmax over the keys, `output`, and the plain `x` that is added.
            `q, k, v` are the three chunks of the projection, each split into heads; scores are
                `q @ k.transpose(2, 3) / q.shape[3] ** 0.5`."""),
        Stage(learns).says("""
            The numbers are right. Is the gradient cut on the way?
            No `.detach()`, no `.data`, no `torch.no_grad()` in `forward`."""),
    ),
    "With the same weights it gives what `nn.MultiheadAttention` gives, and it has just learned what no convolution "
    "of its size could. It stands in the middle of the U-Net of notebook 13.",
)

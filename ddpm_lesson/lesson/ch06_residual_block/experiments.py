"""The residual block taken apart: its normalisation, the shift that survives it, gradients, and what is missed.

``BlockStack`` is a noise predictor of residual blocks and nothing else, from which parts can be taken away.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.xray import activations
from ddpm_lesson.unet import ResidualBlock, Swish, TimeEmbedding
from ddpm_lesson.unet.model import init_weights

PARTS = ("norm", "time", "shortcut", "silence")


def group_norm(x: Tensor, n_groups: int, eps: float = 1e-6) -> Tensor:
    """Take from each image and each group of channels its mean, and divide by its standard deviation.

    Wu and He 2018, Eqs. 1 and 2, without the learned scale and offset.

    Args:
        x: (B, C, ...).
        n_groups: groups of neighbouring channels; must divide C.
        eps: added to the variance.
    """
    groups = x.reshape(len(x), n_groups, -1)  # (B, n_groups, C / n_groups * H * W)
    mean = groups.mean(dim=2, keepdim=True)
    var = groups.var(dim=2, keepdim=True, unbiased=False)
    return ((groups - mean) / (var + eps).sqrt()).reshape(x.shape)


def surviving_shift(shift: Tensor, n_groups: int) -> Tensor:
    """What is left of a shift of the channels once a group normalisation has taken away each group's mean.

    Args:
        shift: (..., C), one number a channel.
        n_groups: groups of the normalisation that follows; must divide C.
    """
    groups = shift.unflatten(-1, (n_groups, -1))
    return (groups - groups.mean(dim=-1, keepdim=True)).flatten(-2)


class Nothing(nn.Module):
    """Answers zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros in the shape of ``x``."""
        return torch.zeros_like(x)


class BlockStack(nn.Module):
    """Residual blocks in a row, at full resolution, between a first and a last convolution.

    Args:
        n_channels: of every feature map.
        n_blocks: how many residual blocks.
        n_groups: of every group normalisation.
        image_channels: channels of the images.
        without: parts to take away from every block: ``"norm"`` (both normalisations), ``"time"``, ``"shortcut"``,
            ``"silence"`` (the second convolution's start at zero). Without shortcut there is no silence either, or
            nothing would come through.
        seed: of the first weights.

    Raises:
        ValueError: if ``without`` names something else.
    """

    def __init__(
        self,
        n_channels: int = 16,
        n_blocks: int = 6,
        n_groups: int = 8,
        image_channels: int = 1,
        *,
        without: Iterable[str] = (),
        seed: int = 0,
    ):
        super().__init__()
        self.without = frozenset(without)
        if unknown := self.without - set(PARTS):
            raise ValueError(f"without must name parts among {', '.join(PARTS)}; got {', '.join(sorted(unknown))}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.image_proj = nn.Conv2d(image_channels, n_channels, kernel_size=3, padding=1)
            self.time_emb = TimeEmbedding(4 * n_channels)
            self.blocks = nn.ModuleList(
                ResidualBlock(n_channels, n_channels, 4 * n_channels, n_groups=n_groups, dropout=0.0)
                for _ in range(n_blocks)
            )
            self.norm = nn.GroupNorm(n_groups, n_channels)
            self.act = Swish()
            self.final = nn.Conv2d(n_channels, image_channels, kernel_size=3, padding=1)
            self.class_emb = None  # no class labels
            init_weights(self)
            self.take_away()

    def take_away(self) -> None:
        """Replace the parts named in ``without`` by modules that do nothing."""
        for block in self.blocks:
            if "norm" in self.without:
                block.norm1 = block.norm2 = nn.Identity()
            if "shortcut" in self.without:
                block.shortcut = Nothing()
            if {"silence", "shortcut"} & self.without:
                nn.init.xavier_uniform_(block.conv2.weight)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W) and (B,) -> (B, C, H, W), the noise."""
        t_emb = self.time_emb(t)
        x = self.image_proj(xt)
        for block in self.blocks:
            x = block(x, torch.zeros_like(t_emb) if "time" in self.without else t_emb)
        return self.final(self.act(self.norm(x)))


def gradients(blocks: Sequence[nn.Module], x: Tensor, t_emb: Tensor, signal: Tensor) -> list[Tensor]:
    """The gradient in front of every block, and behind the last, when ``signal`` arrives there from the loss.

    Args:
        blocks: residual blocks that run one after the other.
        x: what goes into the first, (B, C, H, W).
        t_emb: (B, time_channels).
        signal: the gradient behind the last block, the shape of its output.
    """
    maps = [x.detach().requires_grad_()]
    for block in blocks:
        maps.append(block(maps[-1], t_emb))
    return list(torch.autograd.grad(maps[-1], maps, grad_outputs=signal))


def gradient_flow(stack: BlockStack, side: int = 8, moved: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """How large the gradient is in front of every block, and how well it stands when the input moves a little.

    Args:
        stack: its blocks are fed noise of variance 1.
        side: height and width of the feature maps.
        moved: standard deviation of what is added to the input the second time.
        seed: of the input, the time embedding and the gradient that arrives.

    Returns:
        Size relative to the gradient behind the last block, and cosine between the gradients of the two inputs;
        each (n_blocks + 1,), the first in front of the first block.
    """
    generator = torch.Generator().manual_seed(seed)
    channels, time_channels = stack.image_proj.out_channels, stack.time_emb.n_channels
    x, step, signal = torch.randn(3, 8, channels, side, side, generator=generator)
    t_emb = torch.randn(8, time_channels, generator=generator)
    here = gradients(stack.blocks, x, t_emb, signal)
    there = gradients(stack.blocks, x + moved * step, t_emb, signal)
    size = torch.stack([g.norm() / signal.norm() for g in here])
    pairs = [(a.flatten(1).double(), b.flatten(1).double()) for a, b in zip(here, there, strict=True)]
    return size, torch.stack([F.cosine_similarity(a, b, eps=1e-300).mean() for a, b in pairs])


def first_gradient(
    without: Iterable[str], *, factor: float = 1.0, deaf: bool = False, moved: float = 0.1, seed: int = 0
) -> tuple[float, float]:
    """Size and cosine of the gradient in front of the first of 24 blocks; see ``gradient_flow``.

    Args:
        without: parts taken away, as in ``BlockStack``.
        factor: by which the weights of every convolution are multiplied.
        deaf: take away the time's shift.
        moved: as in ``gradient_flow``.
        seed: of weights, input, time and gradient.
    """
    stack = BlockStack(24, 24, without=without, seed=seed)
    for block in stack.blocks:
        block.conv1.weight.data *= factor
        block.conv2.weight.data *= factor
        if deaf:
            nn.init.zeros_(block.time_emb.weight)
    size, cosine = gradient_flow(stack, moved=moved, seed=seed)
    return float(size[0]), float(cosine[0])


def share_kept(shift: Tensor, n_groups: int) -> float:
    """The share of a shift's variance over t that survives the mean of each group; ``shift`` is (T, C)."""
    return float(surviving_shift(shift, n_groups).var(0).sum() / shift.var(0).sum())


def short_training(
    model: nn.Module, images: Tensor, n_steps: int = 150, *, batch_size: int = 16, lr: float = 4e-3, seed: int = 0
) -> Iterator[float]:
    """Train a noise predictor with Adam for a few steps; two models with one seed see the same noisy images.

    Ho et al. 2020, Algorithm 1, with a warm-up of 20 steps and gradients cut to norm 1.

    Args:
        model: called with ``xt`` and ``t``; changed.
        images: (N, C, H, W) in [-1, 1].
        n_steps, batch_size, lr: of the training.
        seed: of batches, times and noise.

    Yields:
        The loss of each step.
    """
    diffusion = DenoiseDiffusion(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 20))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        x0 = images[torch.randint(len(images), (batch_size,), generator=generator)]
        t = torch.randint(diffusion.n_steps, (batch_size,), generator=generator)
        eps = torch.randn(x0.shape, generator=generator)
        loss = F.mse_loss(model(diffusion.q_sample(x0, t, eps), t), eps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warmup.step()
        yield loss.item()


@torch.no_grad()
def spread_loss(model: nn.Module, images: Tensor, seed: int = 99) -> float:
    """L_simple with the times spread evenly over the images, so that it hardly depends on chance.

    Args:
        model: called with ``xt`` and ``t``.
        images: (N, C, H, W) in [-1, 1], not those of the training.
        seed: of the noise.
    """
    diffusion = DenoiseDiffusion(model)
    t = torch.linspace(0, diffusion.n_steps - 1, len(images)).round().long()
    eps = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return float(F.mse_loss(model(diffusion.q_sample(images, t, eps), t), eps))


class BlockView(NamedTuple):
    """What happens inside one residual block, for a batch."""

    before: Tensor  # (B, C, H, W) behind the first convolution
    shift: Tensor  # (B, C) that the time adds
    seen: Tensor  # (B, C, H, W) behind the second normalisation and its Swish: what the second convolution gets
    answer: Tensor  # (B, C, H, W) of the block

    @property
    def after(self) -> Tensor:
        """(B, C, H, W) behind the first convolution, with the shift."""
        return self.before + self.shift[:, :, None, None]


def look_inside(model: nn.Module, xt: Tensor, t: Tensor, names: Iterable[str]) -> dict[str, BlockView]:
    """The feature maps of the residual blocks called ``names``, from one pass; see ``activations``."""
    parts = {name: [f"{name}.conv1", f"{name}.time_emb", f"{name}.act2", name] for name in names}
    kept = activations(model, xt, t, [part for four in parts.values() for part in four])
    return {name: BlockView(*(kept[part] for part in four)) for name, four in parts.items()}


def residual_blocks(model: nn.Module) -> dict[str, ResidualBlock]:
    """The residual blocks of a network by name, in the order of its modules."""
    return {name: module for name, module in model.named_modules() if isinstance(module, ResidualBlock)}


@torch.no_grad()
def shifts(model: nn.Module, block: ResidualBlock, n_steps: int) -> Tensor:
    """What the time adds to the channels of a block, for every t: (n_steps, C)."""
    t = torch.arange(n_steps, device=next(block.parameters()).device)
    return block.time_emb(block.time_act(model.time_emb(t)))


def busiest(shift: Tensor, k: int) -> list[int]:
    """The k channels that vary most over time, in ascending order; ``shift`` is (T, C)."""
    return sorted(shift.std(dim=0).topk(k).indices.tolist())

"""The blocks of the U-Net, each small enough to read in one go.

Defaults follow Ho et al. 2020 (Appendix B and the authors' code). Where other well-known implementations choose
differently, a keyword switches to their choice.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Swish = nn.SiLU  # x * sigmoid(x); PyTorch's name for it is SiLU

DOWNSAMPLE = ("asymmetric", "symmetric")
UPSAMPLE = ("nearest", "transposed")


class TimeEmbedding(nn.Module):
    """Turn an integer time t into a vector that every residual block can read.

    Sinusoids of geometrically spaced frequencies (Vaswani et al. 2017, section 3.5), then a two-layer MLP.

    Args:
        n_channels: size of the embedding, four times the number of sinusoids; a multiple of 8, at least 16.
        freq_shift: 1 for a slowest frequency of 1/10,000 (the paper's code); 0 for one step short of it (diffusers).

    Raises:
        ValueError: if ``n_channels`` is not such a multiple, or ``freq_shift`` something else.
    """

    def __init__(self, n_channels: int, freq_shift: int = 1):
        super().__init__()
        if n_channels < 16 or n_channels % 8:
            raise ValueError(f"n_channels of TimeEmbedding must be a multiple of 8, at least 16; got {n_channels}")
        if freq_shift not in (0, 1):
            raise ValueError(f"freq_shift must be 0 or 1; got {freq_shift!r}")
        self.n_channels = n_channels
        self.freq_shift = freq_shift
        self.lin1 = nn.Linear(n_channels // 4, n_channels)
        self.act = Swish()
        self.lin2 = nn.Linear(n_channels, n_channels)

    def sinusoids(self, t: Tensor) -> Tensor:
        """Sine and cosine of t at frequencies from 1 down to 1/10,000: (B,) -> (B, n_channels / 4)."""
        half = self.n_channels // 8
        exponent = torch.arange(half, device=t.device, dtype=torch.float32) / (half - self.freq_shift)
        frequency = torch.exp(-math.log(10_000) * exponent)
        angle = t.float()[:, None] * frequency[None, :]  # (B, half)
        return torch.cat((angle.sin(), angle.cos()), dim=1)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) integer times -> (B, n_channels)."""
        emb = self.sinusoids(t).to(self.lin1.weight.dtype)
        return self.lin2(self.act(self.lin1(emb)))


class ResidualBlock(nn.Module):
    """Two convolutions, told the time in between, added to a shortcut.

    GroupNorm -> Swish -> conv, plus a shift computed from the time embedding, then
    GroupNorm -> Swish -> dropout -> conv (Ho et al. 2020, Appendix B).

    Args:
        in_channels, out_channels: channels of the feature map that comes in and goes out.
        time_channels: size of the time embedding.
        n_groups: groups of the group normalisation; must divide both channel counts.
        norm_eps: added to the variance in the group normalisation.
        dropout: probability of dropping an activation before the second convolution.

    Raises:
        ValueError: if ``n_groups`` does not divide the channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_channels: int,
        *,
        n_groups: int = 32,
        norm_eps: float = 1e-6,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.norm1 = group_norm(n_groups, in_channels, norm_eps)
        self.act1 = Swish()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)

        self.time_act = Swish()
        self.time_emb = nn.Linear(time_channels, out_channels)

        self.norm2 = group_norm(n_groups, out_channels, norm_eps)
        self.act2 = Swish()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)

        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor, t_emb: Tensor) -> Tensor:
        """(B, in_channels, H, W) and (B, time_channels) -> (B, out_channels, H, W)."""
        h = self.conv1(self.act1(self.norm1(x)))
        h = h + self.time_emb(self.time_act(t_emb))[:, :, None, None]
        h = self.conv2(self.dropout(self.act2(self.norm2(h))))
        return h + self.shortcut(x)


class AttentionBlock(nn.Module):
    """Self-attention over the pixels of a feature map: every pixel may look at every other one.

    softmax(q k^T / sqrt(d_k)) v on the normalised input, added to the input (Vaswani et al. 2017, Eq. 1).

    Args:
        n_channels: channels of the feature map.
        n_heads: number of attention heads; None for as many as ``d_k`` allows.
        d_k: channels of each head; ``n_channels / n_heads`` unless given.
        n_groups, norm_eps: of the group normalisation in front.

    Raises:
        ValueError: if ``n_groups`` does not divide ``n_channels``, or ``n_heads`` does not and ``d_k`` is left out.
    """

    def __init__(
        self,
        n_channels: int,
        n_heads: int | None = 1,
        d_k: int | None = None,
        *,
        n_groups: int = 32,
        norm_eps: float = 1e-6,
    ):
        super().__init__()
        if n_heads is None:
            n_heads = max(1, n_channels // (d_k or n_channels))
        if n_heads < 1 or (d_k is None and n_channels % n_heads):
            raise ValueError(f"n_heads must divide the {n_channels} channels of the attention block; got {n_heads}")
        self.n_heads = n_heads
        self.d_k = d_k or n_channels // n_heads
        self.norm = group_norm(n_groups, n_channels, norm_eps)
        self.projection = nn.Linear(n_channels, 3 * n_heads * self.d_k)  # q, k and v of each head
        self.output = nn.Linear(n_heads * self.d_k, n_channels)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every pixel: (B, C, H, W) -> three of (B, n_heads, H*W, d_k)."""
        B, _, H, W = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, H*W, C): one token a pixel
        qkv = self.projection(tokens).view(B, H * W, self.n_heads, 3 * self.d_k)
        return qkv.transpose(1, 2).chunk(3, dim=-1)

    def attention_map(self, x: Tensor) -> Tensor:
        """How much each pixel (row) takes from every other (column): (B, C, H, W) -> (B, n_heads, H*W, H*W)."""
        q, k, _ = self.qkv(x)
        return (q @ k.transpose(-2, -1) / self.d_k**0.5).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        q, k, v = self.qkv(x)
        h = F.scaled_dot_product_attention(q, k, v)  # (B, n_heads, H*W, d_k)
        h = self.output(h.transpose(1, 2).flatten(2))  # (B, H*W, C)
        return x + h.transpose(1, 2).reshape(x.shape)


class DownBlock(nn.Module):
    """The unit of the U-Net's way down: a residual block and, where asked for, attention. The resolution stays.

    Args:
        in_channels, out_channels, time_channels: as in ``ResidualBlock``.
        has_attn: whether an ``AttentionBlock`` follows.
        n_heads, d_k: as in ``AttentionBlock``.
        n_groups, norm_eps, dropout: as in ``ResidualBlock``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_channels: int,
        has_attn: bool,
        *,
        n_heads: int | None = 1,
        d_k: int | None = None,
        n_groups: int = 32,
        norm_eps: float = 1e-6,
        dropout: float = 0.1,
    ):
        super().__init__()
        norm: dict[str, Any] = {"n_groups": n_groups, "norm_eps": norm_eps}
        self.res = ResidualBlock(in_channels, out_channels, time_channels, dropout=dropout, **norm)
        self.attn = AttentionBlock(out_channels, n_heads, d_k, **norm) if has_attn else nn.Identity()

    def forward(self, x: Tensor, t_emb: Tensor) -> Tensor:
        """(B, in_channels, H, W) and (B, time_channels) -> (B, out_channels, H, W)."""
        return self.attn(self.res(x, t_emb))


class UpBlock(nn.Module):
    """The unit of the way up: takes in a feature map kept on the way down, then as ``DownBlock``.

    Args:
        in_channels: channels that come from below.
        skip_channels: channels of the feature map kept on the way down.
        out_channels, time_channels, has_attn, n_heads, d_k, n_groups, norm_eps, dropout: as in ``DownBlock``.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        time_channels: int,
        has_attn: bool,
        *,
        n_heads: int | None = 1,
        d_k: int | None = None,
        n_groups: int = 32,
        norm_eps: float = 1e-6,
        dropout: float = 0.1,
    ):
        super().__init__()
        norm: dict[str, Any] = {"n_groups": n_groups, "norm_eps": norm_eps}
        self.res = ResidualBlock(in_channels + skip_channels, out_channels, time_channels, dropout=dropout, **norm)
        self.attn = AttentionBlock(out_channels, n_heads, d_k, **norm) if has_attn else nn.Identity()

    def forward(self, x: Tensor, skip: Tensor, t_emb: Tensor) -> Tensor:
        """(B, in_channels, H, W), (B, skip_channels, H, W), (B, time_channels) -> (B, out_channels, H, W)."""
        x = torch.cat((x, skip), dim=1)  # (B, in_channels + skip_channels, H, W)
        return self.attn(self.res(x, t_emb))


class MiddleBlock(nn.Module):
    """Residual block, attention, residual block, at the lowest resolution.

    Args:
        n_channels, time_channels, n_heads, d_k, n_groups, norm_eps, dropout: as in ``DownBlock``.
    """

    def __init__(
        self,
        n_channels: int,
        time_channels: int,
        *,
        n_heads: int | None = 1,
        d_k: int | None = None,
        n_groups: int = 32,
        norm_eps: float = 1e-6,
        dropout: float = 0.1,
    ):
        super().__init__()
        norm: dict[str, Any] = {"n_groups": n_groups, "norm_eps": norm_eps}
        self.res1 = ResidualBlock(n_channels, n_channels, time_channels, dropout=dropout, **norm)
        self.attn = AttentionBlock(n_channels, n_heads, d_k, **norm)
        self.res2 = ResidualBlock(n_channels, n_channels, time_channels, dropout=dropout, **norm)

    def forward(self, x: Tensor, t_emb: Tensor) -> Tensor:
        """(B, C, H, W) and (B, time_channels) -> (B, C, H, W)."""
        return self.res2(self.attn(self.res1(x, t_emb)), t_emb)


class Downsample(nn.Module):
    """Halve height and width with a 3x3 convolution of stride 2.

    Args:
        n_channels: channels, in and out.
        padding: ``"asymmetric"`` pads one row below and one column to the right (the paper's code, where
            TensorFlow's SAME does it); ``"symmetric"`` pads one on every side (labml).
    """

    def __init__(self, n_channels: int, padding: str = "asymmetric"):
        super().__init__()
        check_choice("padding", padding, DOWNSAMPLE)
        self.pad = (0, 1, 0, 1) if padding == "asymmetric" else (1, 1, 1, 1)
        self.conv = nn.Conv2d(n_channels, n_channels, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2)."""
        return self.conv(F.pad(x, self.pad))


class Upsample(nn.Module):
    """Double height and width.

    Args:
        n_channels: channels, in and out.
        method: ``"nearest"`` repeats every pixel and smooths with a 3x3 convolution (the paper);
            ``"transposed"`` is a 4x4 transposed convolution of stride 2 (labml), prone to checkerboards.
    """

    def __init__(self, n_channels: int, method: str = "nearest"):
        super().__init__()
        check_choice("method", method, UPSAMPLE)
        self.method = method
        if method == "nearest":
            self.conv = nn.Conv2d(n_channels, n_channels, kernel_size=3, padding=1)
        else:
            self.conv = nn.ConvTranspose2d(n_channels, n_channels, kernel_size=4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        if self.method == "nearest":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.conv(x)


def group_norm(n_groups: int, n_channels: int, eps: float, name: str = "n_groups") -> nn.GroupNorm:
    """A GroupNorm layer (Wu and He 2018); ValueError about ``name`` if the groups do not divide the channels."""
    if n_groups < 1 or n_channels % n_groups:
        raise ValueError(f"{name} must divide the number of channels: {n_groups} does not divide {n_channels}")
    return nn.GroupNorm(n_groups, n_channels, eps=eps)


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise a ValueError if the argument called ``name`` is none of the ``allowed`` ones."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")

"""The noise predictor: a U-Net that sees a noisy image x_t and the time t and answers eps_theta.

Every block of the network is a class of its own, small enough to read in one go:
``TimeEmbedding``, ``ResidualBlock``, ``AttentionBlock``, ``DownBlock``, ``MiddleBlock``, ``UpBlock``,
``Downsample``, ``Upsample`` and, from them, ``UNet``.

Defaults follow Ho et al. 2020 (Appendix B and the authors' code). Where other well-known
implementations choose differently, a keyword switches to their choice.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Swish = nn.SiLU  # x * sigmoid(x); PyTorch's name for it is SiLU

DOWNSAMPLE = ("asymmetric", "symmetric")
UPSAMPLE = ("nearest", "transposed")
NARROW = ("after", "before")


class TimeEmbedding(nn.Module):
    """Turn an integer time t into a vector that every residual block can read.

    Sinusoids of geometrically spaced frequencies (Vaswani et al. 2017, section 3.5), then a two-layer MLP.

    Args:
        n_channels: size of the embedding, four times the number of sinusoids; a multiple of 8, at least 16.

    Raises:
        ValueError: if ``n_channels`` is not such a multiple.
    """

    def __init__(self, n_channels: int):
        super().__init__()
        if n_channels < 16 or n_channels % 8:
            raise ValueError(f"n_channels of TimeEmbedding must be a multiple of 8, at least 16; got {n_channels}")
        self.n_channels = n_channels
        self.lin1 = nn.Linear(n_channels // 4, n_channels)
        self.act = Swish()
        self.lin2 = nn.Linear(n_channels, n_channels)

    def sinusoids(self, t: Tensor) -> Tensor:
        """Sine and cosine of t at frequencies from 1 down to 1/10,000: (B,) -> (B, n_channels / 4)."""
        half = self.n_channels // 8
        exponent = torch.arange(half, device=t.device, dtype=torch.float32) / (half - 1)
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
        n_heads: number of attention heads.
        d_k: channels of each head; ``n_channels / n_heads`` unless given.
        n_groups, norm_eps: of the group normalisation in front.

    Raises:
        ValueError: if ``n_groups`` does not divide ``n_channels``, or ``n_heads`` does not and ``d_k`` is left out.
    """

    def __init__(
        self,
        n_channels: int,
        n_heads: int = 1,
        d_k: int | None = None,
        *,
        n_groups: int = 32,
        norm_eps: float = 1e-6,
    ):
        super().__init__()
        if d_k is None and n_channels % n_heads:
            raise ValueError(f"n_heads must divide the {n_channels} channels of the attention block; got {n_heads}")
        self.n_heads = n_heads
        self.d_k = d_k or n_channels // n_heads
        self.norm = group_norm(n_groups, n_channels, norm_eps)
        self.projection = nn.Linear(n_channels, 3 * n_heads * self.d_k)  # q, k and v of each head
        self.output = nn.Linear(n_heads * self.d_k, n_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        B, C, H, W = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, H*W, C): one token a pixel
        qkv = self.projection(tokens).view(B, H * W, self.n_heads, 3 * self.d_k)
        q, k, v = qkv.transpose(1, 2).chunk(3, dim=-1)  # each (B, heads, H*W, d_k)
        h = F.scaled_dot_product_attention(q, k, v)
        h = self.output(h.transpose(1, 2).flatten(2))  # (B, H*W, C)
        return x + h.transpose(1, 2).reshape(B, C, H, W)


class DownBlock(nn.Module):
    """A residual block and, where asked for, attention: the unit of the U-Net's way down.

    Args:
        in_channels, out_channels, time_channels: as in ``ResidualBlock``.
        has_attn: whether an ``AttentionBlock`` follows.
        n_heads: attention heads.
        block: further keywords of ``ResidualBlock``; ``n_groups`` and ``norm_eps`` go to the attention as well.
    """

    def __init__(
        self, in_channels: int, out_channels: int, time_channels: int, has_attn: bool, *, n_heads: int = 1, **block
    ):
        super().__init__()
        self.res = ResidualBlock(in_channels, out_channels, time_channels, **block)
        self.attn = attention(out_channels, n_heads, **block) if has_attn else nn.Identity()

    def forward(self, x: Tensor, t_emb: Tensor) -> Tensor:
        """(B, in_channels, H, W) and (B, time_channels) -> (B, out_channels, H, W)."""
        return self.attn(self.res(x, t_emb))


class UpBlock(DownBlock):
    """The unit of the way up: a ``DownBlock`` that first takes in the feature map kept on the way down.

    Args:
        in_channels: channels that come from below.
        skip_channels: channels of the feature map kept on the way down.
        out_channels, time_channels, has_attn, n_heads, block: as in ``DownBlock``.
    """

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, time_channels: int, has_attn: bool, **block
    ):
        super().__init__(in_channels + skip_channels, out_channels, time_channels, has_attn, **block)

    def forward(self, x: Tensor, skip: Tensor, t_emb: Tensor) -> Tensor:
        """(B, in_channels, H, W), (B, skip_channels, H, W), (B, time_channels) -> (B, out_channels, H, W)."""
        return super().forward(torch.cat((x, skip), dim=1), t_emb)


class MiddleBlock(nn.Module):
    """Residual block, attention, residual block, at the lowest resolution.

    Args:
        n_channels, time_channels, n_heads, block: as in ``DownBlock``.
    """

    def __init__(self, n_channels: int, time_channels: int, *, n_heads: int = 1, **block):
        super().__init__()
        self.res1 = ResidualBlock(n_channels, n_channels, time_channels, **block)
        self.attn = attention(n_channels, n_heads, **block)
        self.res2 = ResidualBlock(n_channels, n_channels, time_channels, **block)

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


class UNet(nn.Module):
    """Predict the noise in x_t: the network eps_theta(x_t, t) of Ho et al. 2020, Appendix B.

    The way down halves the image between levels, the way up doubles it again, and every feature map of the
    way down is kept and handed across. Level i works with ``n_channels * ch_mults[i]`` channels.
    The paper's CIFAR-10 network is ``UNet(3, 128, (1, 2, 2, 2), (False, True, False, False))``: 35,746,307
    parameters.

    Args:
        image_channels: channels of the image, 1 for grey and 3 for colour.
        n_channels: base width.
        ch_mults: width of each level, as a multiple of the base width.
        is_attn: whether the blocks of each level end in attention.
        n_blocks: blocks a level on the way down; the way up has one more.
        n_heads: attention heads.
        n_groups: groups of every group normalisation; must divide the width of every level.
        final_groups: groups of the last normalisation; ``n_groups`` unless given.
        norm_eps: added to the variance in every group normalisation.
        dropout: inside the residual blocks.
        downsample: ``"asymmetric"`` or ``"symmetric"`` padding, see ``Downsample``.
        upsample: ``"nearest"`` or ``"transposed"``, see ``Upsample``.
        narrow: where the way up narrows to the next level's width: ``"after"`` upsampling (the paper) or
            ``"before"`` it, in the last block of the level below (labml).

    Raises:
        ValueError: if a setting is out of range or two of them do not fit together.
    """

    def __init__(
        self,
        image_channels: int = 3,
        n_channels: int = 64,
        ch_mults: Sequence[int] = (1, 2, 2, 4),
        is_attn: Sequence[bool] = (False, False, True, True),
        n_blocks: int = 2,
        *,
        n_heads: int = 1,
        n_groups: int = 32,
        final_groups: int | None = None,
        norm_eps: float = 1e-6,
        dropout: float = 0.1,
        downsample: str = "asymmetric",
        upsample: str = "nearest",
        narrow: str = "after",
    ):
        super().__init__()
        self.settings = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.settings |= {"ch_mults": tuple(ch_mults), "is_attn": tuple(is_attn)}
        check_settings(**self.settings)
        widths = [n_channels * m for m in ch_mults]
        time_channels = 4 * n_channels
        block = {"n_heads": n_heads, "n_groups": n_groups, "norm_eps": norm_eps, "dropout": dropout}
        last = len(widths) - 1

        self.image_proj = nn.Conv2d(image_channels, n_channels, kernel_size=3, padding=1)
        self.time_emb = TimeEmbedding(time_channels)

        self.down = nn.ModuleList()
        channels = n_channels
        kept = [channels]  # channels of every feature map that the way up will get back
        for i, width in enumerate(widths):
            for _ in range(n_blocks):
                self.down.append(DownBlock(channels, width, time_channels, is_attn[i], **block))
                channels = width
                kept.append(channels)
            if i < last:
                self.down.append(Downsample(channels, downsample))
                kept.append(channels)

        self.middle = MiddleBlock(channels, time_channels, **block)

        self.up = nn.ModuleList()
        for i in range(last, -1, -1):
            out = [widths[i]] * (n_blocks + 1)
            if narrow == "before":
                out[-1] = widths[i - 1] if i > 0 else n_channels
            for width in out:
                self.up.append(UpBlock(channels, kept.pop(), width, time_channels, is_attn[i], **block))
                channels = width
            if i > 0:
                self.up.append(Upsample(channels, upsample))

        self.norm = group_norm(final_groups or n_groups, channels, norm_eps, "final_groups")
        self.act = Swish()
        self.final = nn.Conv2d(channels, image_channels, kernel_size=3, padding=1)
        init_weights(self)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            xt: noisy images, (B, image_channels, H, W); H and W divisible by 2 for every level but the first.
            t: their times, (B,).

        Returns:
            eps_theta, the shape of ``xt``.

        Raises:
            ValueError: if the shapes do not fit the network or each other.
        """
        self.check_input(xt, t)
        t_emb = self.time_emb(t)  # (B, 4 * n_channels)
        x = self.image_proj(xt)  # (B, n_channels, H, W)

        kept = [x]
        for module in self.down:
            x = module(x) if isinstance(module, Downsample) else module(x, t_emb)
            kept.append(x)

        x = self.middle(x, t_emb)

        for module in self.up:
            x = module(x) if isinstance(module, Upsample) else module(x, kept.pop(), t_emb)

        return self.final(self.act(self.norm(x)))  # (B, image_channels, H, W)

    def check_input(self, xt: Tensor, t: Tensor) -> None:
        """Raise a ValueError that says what is wrong with the shapes of ``xt`` and ``t``, if anything."""
        channels, factor = self.settings["image_channels"], 2 ** (len(self.settings["ch_mults"]) - 1)
        if xt.ndim != 4 or xt.shape[1] != channels:
            raise ValueError(f"xt must have shape (B, {channels}, H, W); got {tuple(xt.shape)}")
        if xt.shape[2] % factor or xt.shape[3] % factor:
            raise ValueError(
                f"image sides must be divisible by {factor}, because the U-Net halves them "
                f"{len(self.settings['ch_mults']) - 1} times; xt is {xt.shape[2]} x {xt.shape[3]}"
            )
        if t.shape != xt.shape[:1]:
            raise ValueError(f"t must have shape ({len(xt)},), one time an image; got {tuple(t.shape)}")


def group_norm(n_groups: int, n_channels: int, eps: float, name: str = "n_groups") -> nn.GroupNorm:
    """A GroupNorm layer (Wu and He 2018); ValueError about ``name`` if the groups do not divide the channels."""
    if n_groups < 1 or n_channels % n_groups:
        raise ValueError(f"{name} must divide the number of channels: {n_groups} does not divide {n_channels}")
    return nn.GroupNorm(n_groups, n_channels, eps=eps)


def attention(n_channels: int, n_heads: int, *, n_groups: int = 32, norm_eps: float = 1e-6, **_) -> AttentionBlock:
    """The attention block that belongs to residual blocks with these settings."""
    return AttentionBlock(n_channels, n_heads, n_groups=n_groups, norm_eps=norm_eps)


def init_weights(model: UNet) -> None:
    """Initialise as the authors' code does: Xavier-uniform weights, zero biases, and every branch silent.

    The last layer of each residual branch and of the network starts at zero, so an untrained U-Net
    predicts no noise at all and its loss is 1, the variance of eps.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, ResidualBlock):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, AttentionBlock):
            nn.init.xavier_uniform_(module.projection.weight, gain=2**0.5)  # q, k, v as three layers of their own
            nn.init.zeros_(module.output.weight)
    nn.init.zeros_(model.final.weight)


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise a ValueError if the argument called ``name`` is none of the ``allowed`` ones."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


def check_settings(*, ch_mults, is_attn, downsample, upsample, narrow, dropout, norm_eps, **counts) -> None:
    """Raise a ValueError that names the first setting of ``UNet`` that cannot work."""
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}")
    if counts["n_channels"] < 4 or counts["n_channels"] % 2:
        raise ValueError(f"n_channels must be even and at least 4; got {counts['n_channels']}")
    if not norm_eps > 0:
        raise ValueError(f"norm_eps must be above 0; got {norm_eps}")
    if not ch_mults or any(not isinstance(m, int) or m < 1 for m in ch_mults):
        raise ValueError(f"ch_mults must be whole numbers of at least 1, one a level; got {ch_mults}")
    if len(is_attn) != len(ch_mults):
        raise ValueError(f"is_attn must have one entry a level, {len(ch_mults)} like ch_mults; got {is_attn}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1); got {dropout}")
    check_choice("downsample", downsample, DOWNSAMPLE)
    check_choice("upsample", upsample, UPSAMPLE)
    check_choice("narrow", narrow, NARROW)

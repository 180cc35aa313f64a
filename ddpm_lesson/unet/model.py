"""The U-Net, put together from its blocks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.unet.blocks import (
    DOWNSAMPLE,
    UPSAMPLE,
    AttentionBlock,
    DownBlock,
    Downsample,
    MiddleBlock,
    ResidualBlock,
    Swish,
    TimeEmbedding,
    UpBlock,
    Upsample,
    check_choice,
    group_norm,
)

NARROW = ("after", "before")


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
        d_k: channels of each head instead, so that wide levels have more heads than narrow ones.
        n_groups: groups of every group normalisation; must divide the width of every level.
        final_groups: groups of the last normalisation; ``n_groups`` unless given.
        norm_eps: added to the variance in every group normalisation.
        dropout: inside the residual blocks.
        downsample: ``"asymmetric"`` or ``"symmetric"`` padding, see ``Downsample``.
        upsample: ``"nearest"`` or ``"transposed"``, see ``Upsample``.
        narrow: where the way up narrows to the next level's width: ``"after"`` upsampling (the paper) or
            ``"before"`` it, in the last block of the level below (labml).
        n_classes: classes that a label can name; without them, no labels (Ho and Salimans 2022, section 3).
        freq_shift: of the time embedding, see ``TimeEmbedding``.

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
        n_classes: int | None = None,
        d_k: int | None = None,
        freq_shift: int = 1,
    ):
        super().__init__()
        sizes = {"image_channels": image_channels, "n_channels": n_channels, "ch_mults": tuple(ch_mults)}
        blocks = {"is_attn": tuple(is_attn), "n_blocks": n_blocks, "n_heads": n_heads, "n_groups": n_groups}
        norms = {"final_groups": final_groups, "norm_eps": norm_eps, "dropout": dropout}
        choices = {"downsample": downsample, "upsample": upsample, "narrow": narrow}
        more = {"n_classes": n_classes, "d_k": d_k, "freq_shift": freq_shift}
        self.settings: dict[str, Any] = {**sizes, **blocks, **norms, **choices, **more}
        check_settings(**self.settings)
        widths = [n_channels, *(n_channels * m for m in ch_mults)]  # of the first convolution and of each level
        block: dict[str, Any] = {"n_groups": n_groups, "norm_eps": norm_eps, "dropout": dropout}
        block |= {"time_channels": 4 * n_channels, "d_k": d_k, "n_heads": None if d_k else n_heads}

        self.image_proj = nn.Conv2d(image_channels, n_channels, kernel_size=3, padding=1)
        self.time_emb = TimeEmbedding(4 * n_channels, freq_shift)
        self.class_emb = nn.Embedding(n_classes + 1, 4 * n_channels) if n_classes else None  # the last: none given
        self.down, kept = way_down(widths, is_attn, n_blocks, downsample, block)
        self.middle = MiddleBlock(widths[-1], **block)
        self.up = way_up(widths, is_attn, n_blocks, upsample, narrow, kept, block)

        channels = widths[0] if narrow == "before" else widths[1]
        self.norm = group_norm(final_groups or n_groups, channels, norm_eps, "final_groups")
        self.act = Swish()
        self.final = nn.Conv2d(channels, image_channels, kernel_size=3, padding=1)
        init_weights(self)
        self.trusts_labels = False  # guided hands in labels that it has looked at, and a look would wait for the device

    @property
    def n_classes(self) -> int | None:
        """Classes that a label can name; None without labels."""
        return self.settings["n_classes"]

    def forward(self, xt: Tensor, t: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """Predict the noise.

        Args:
            xt: noisy images, (B, image_channels, H, W); H and W divisible by 2 for every level but the first.
            t: their times, (B,).
            class_labels: what they show, (B,) whole numbers in 0 .. n_classes-1; the number ``n_classes`` stands for
                an image whose label is not given, and so does None for all.

        Returns:
            eps_theta, the shape of ``xt``.

        Raises:
            ValueError: if the shapes do not fit the network or each other, or a label is none of its own.
        """
        self.check_input(xt, t)
        t_emb = self.time_emb(t)  # (B, 4 * n_channels)
        if self.class_emb is not None or class_labels is not None:
            t_emb = t_emb + self.embed_labels(class_labels, t)
        x = self.image_proj(xt)  # (B, n_channels, H, W)

        kept = [x]
        for module in self.down:
            x = module(x) if isinstance(module, Downsample) else module(x, t_emb)
            kept.append(x)

        x = self.middle(x, t_emb)

        for module in self.up:
            x = module(x) if isinstance(module, Upsample) else module(x, kept.pop(), t_emb)

        return self.final(self.act(self.norm(x)))  # (B, image_channels, H, W)

    def embed_labels(self, class_labels: Tensor | None, t: Tensor) -> Tensor:
        """What the labels add to the time embedding, (B, 4 * n_channels); errors as in ``forward``."""
        if self.class_emb is None or self.n_classes is None:
            raise ValueError("class_labels must be left out: this network was made without n_classes")
        if class_labels is None:
            class_labels = torch.full(t.shape, self.n_classes, device=t.device)
        whole = class_labels.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
        if not whole or class_labels.shape != t.shape:
            raise ValueError(
                f"class_labels must be whole numbers of shape ({len(t)},), one an image; "
                f"got {class_labels.dtype} of shape {tuple(class_labels.shape)}"
            )
        labels = class_labels.long()
        trained = self.training and labels.device.type != "cpu"  # training has looked at them
        trusted = self.trusts_labels or trained or torch.compiler.is_compiling()
        if not trusted and ((labels < 0) | (labels > self.n_classes)).any():
            raise ValueError(
                f"class_labels must lie in 0 .. {self.n_classes - 1}, or be {self.n_classes} for none given; "
                f"got {int(labels.min())} .. {int(labels.max())}"
            )
        return self.class_emb(labels)

    def check_input(self, xt: Tensor, t: Tensor) -> None:
        """Raise a ValueError that says what is wrong with the shapes of ``xt`` and ``t``, if anything."""
        channels, factor = self.settings["image_channels"], 2 ** (len(self.settings["ch_mults"]) - 1)
        if xt.ndim != 4 or xt.shape[1] != channels:
            raise ValueError(f"xt must have shape (B, {channels}, H, W); got {tuple(xt.shape)}")
        if xt.dtype != self.final.weight.dtype and not torch.is_autocast_enabled(xt.device.type):
            raise ValueError(f"xt must hold {self.final.weight.dtype}, like the weights; got {xt.dtype}")
        if xt.shape[2] % factor or xt.shape[3] % factor:
            raise ValueError(
                f"image sides must be divisible by {factor}, because the U-Net halves them "
                f"{len(self.settings['ch_mults']) - 1} times; xt is {xt.shape[2]} x {xt.shape[3]}"
            )
        if t.shape != xt.shape[:1]:
            raise ValueError(f"t must have shape ({len(xt)},), one time an image; got {tuple(t.shape)}")


def way_down(
    widths: Sequence[int], is_attn: Sequence[bool], n_blocks: int, downsample: str, block: dict[str, Any]
) -> tuple[nn.ModuleList, list[int]]:
    """The modules from the first convolution to the middle, and the channels of every feature map to be kept.

    ``widths`` are the channels of the first convolution and of each level, ``block`` what all blocks share.
    """
    modules, kept = nn.ModuleList(), [widths[0]]
    for i, width in enumerate(widths[1:]):
        for _ in range(n_blocks):
            modules.append(DownBlock(kept[-1], width, has_attn=is_attn[i], **block))
            kept.append(width)
        if i + 1 < len(is_attn):
            modules.append(Downsample(width, downsample))
            kept.append(width)
    return modules, kept


def way_up(
    widths: Sequence[int],
    is_attn: Sequence[bool],
    n_blocks: int,
    upsample: str,
    narrow: str,
    kept: Sequence[int],
    block: dict[str, Any],
) -> nn.ModuleList:
    """The modules from the middle to the last convolution, one block for every feature map that was kept."""
    modules, kept, channels = nn.ModuleList(), list(kept), widths[-1]
    for i in reversed(range(len(is_attn))):
        out = [widths[i + 1]] * (n_blocks + 1)
        if narrow == "before":
            out[-1] = widths[i]
        for width in out:
            modules.append(UpBlock(channels, kept.pop(), width, has_attn=is_attn[i], **block))
            channels = width
        if i > 0:
            modules.append(Upsample(channels, upsample))
    return modules


def init_weights(model: UNet) -> None:
    """Initialise as the authors' code does: Xavier-uniform weights, zero biases, and every branch silent.

    The last layer of each residual branch and of the network starts at zero, so an untrained U-Net
    predicts no noise at all and its loss is 1, the variance of eps.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.get_parameter("bias"))
    for module in model.modules():
        if isinstance(module, ResidualBlock):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, AttentionBlock):
            nn.init.xavier_uniform_(module.projection.weight, gain=2**0.5)  # q, k, v as three layers of their own
            nn.init.zeros_(module.output.weight)
    nn.init.zeros_(model.final.weight)
    if model.class_emb is not None:
        nn.init.zeros_(model.class_emb.weight)


def check_settings(
    *,
    ch_mults: Sequence[int],
    is_attn: Sequence[bool],
    downsample: str,
    upsample: str,
    narrow: str,
    dropout: float,
    norm_eps: float,
    freq_shift: int,  # left to TimeEmbedding
    **counts: Any,
) -> None:
    """Raise a ValueError that names the first setting of ``UNet`` that cannot work."""
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}")
    if counts["n_channels"] < 4 or counts["n_channels"] % 2:
        raise ValueError(f"n_channels must be even and at least 4; got {counts['n_channels']}")
    if counts["d_k"] and counts["n_heads"] != 1:
        raise ValueError(f"n_heads must be left out where d_k says how wide a head is; got {counts['n_heads']}")
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

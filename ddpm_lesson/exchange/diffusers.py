"""Our U-Net as a ``UNet2DModel`` of diffusers, and back: the settings translated, the weights renamed."""

import inspect
from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddpm_lesson.exchange.core import Settings, check_expressible, height_and_width
from ddpm_lesson.runtime import needs
from ddpm_lesson.unet import AttentionBlock, UNet

if TYPE_CHECKING:
    from diffusers import UNet2DModel

PADDING = {"asymmetric": 0, "symmetric": 1}  # our downsample: diffusers' downsample_padding
DOWN = {False: "DownBlock2D", True: "AttnDownBlock2D"}
UP = {False: "UpBlock2D", True: "AttnUpBlock2D"}
REFUSED = {  # settings of UNet2DModel that another value than the usual one keeps out, and why
    "act_fn": "here every activation is SiLU",
    "add_attention": "here the middle attends",
    "attn_norm_num_groups": "here all normalisations have the same number of groups",
    "block_out_channels": "here widths are multiples of the first",
    "center_input_sample": "here images live in [-1, 1], and not in [0, 1]",
    "class_embed_type": "here a label is a whole number",
    "down_block_types": "here a level is a DownBlock2D or an AttnDownBlock2D",
    "downsample_type": "here a convolution halves the sides",
    "freq_shift": "here it is 0 or 1",
    "mid_block_scale_factor": "here the middle is not scaled",
    "mid_block_type": "here there is a middle",
    "out_channels": "here what goes in has the shape of what comes out: no variances, no images to go by",
    "resnet_time_scale_shift": "here the time shifts and does not scale",
    "time_embedding_dim": "here it is four times the first width",
    "time_embedding_type": "here times become sinusoids",
    "up_block_types": "here the way up attends where the way down does",
    "upsample_type": "here pixels are repeated and convolved",
}


def diffusers_unet(unet: UNet, image_size: int | tuple[int, int] = 32) -> "UNet2DModel":
    """The same network in diffusers, with a copy of the weights.

    Args:
        unet: ours. diffusers has no word for ``upsample="transposed"``, ``narrow="before"``, ``final_groups`` other
            than ``n_groups``, ``ch_mults`` that do not begin with 1, and ``n_heads`` where attention levels differ in
            width, for which ``d_k`` serves. The null label becomes the last of ``num_class_embeds``.
        image_size: side, or height and width, of the images that a pipeline will draw with it.

    Returns:
        A ``diffusers.UNet2DModel`` on the same device, of the same precision, in the same mode (training or not).

    Raises:
        ValueError: if diffusers has no word for a setting, or the sides of the image cannot be halved often enough.
        ImportError: if diffusers is not installed.
    """
    needs("diffusers", extra="diffusers")
    import diffusers

    check_diffusers(unet.settings, image_size)
    settings = diffusers_settings(unet.settings, image_size)
    theirs = diffusers.UNet2DModel(**settings).to(unet.final.weight)
    theirs.load_state_dict(to_their_names(unet))
    return theirs.train(unet.training)


def unet_from_diffusers(model: "UNet2DModel") -> UNet:
    """The same network as ours, with a copy of the weights.

    Args:
        model: a ``diffusers.UNet2DModel`` of the usual blocks, with the library's defaults or with the paper's
            choices. The last of ``num_class_embeds`` becomes the null label, as is usual for guidance.

    Returns:
        A ``UNet`` on the same device, of the same precision, in the same mode (training or not).

    Raises:
        ValueError: naming every setting that our U-Net cannot express, and why; they stand in ``REFUSED``.
        TypeError: if ``model`` is something else.
        ImportError: if diffusers is not installed.
    """
    needs("diffusers", extra="diffusers")
    import diffusers

    if not isinstance(model, diffusers.UNet2DModel):
        raise TypeError(f"model must be a diffusers.UNet2DModel; got {type(model).__name__}")
    unet = UNet(**our_settings(model)).to(model.conv_out.weight)
    theirs = model.state_dict()
    if model.config["flip_sin_to_cos"]:  # cosines first: the weights that read them change places instead
        theirs["time_embedding.linear_1.weight"] = theirs["time_embedding.linear_1.weight"].roll(
            unet.time_emb.n_channels // 8, dims=1
        )
    unet.load_state_dict(to_our_names(theirs, unet))
    return unet.train(model.training)


# Settings


def check_diffusers(settings: Settings, image_size: int | tuple[int, int]) -> None:
    """Raise a ValueError that names the first thing about a ``UNet`` for which diffusers has no word, if any."""
    check_expressible("diffusers", settings, {"upsample": "nearest", "narrow": "after"})
    if settings["final_groups"] not in (None, settings["n_groups"]):
        raise ValueError(f"diffusers has no final_groups: it must be n_groups or None; got {settings['final_groups']}")
    if settings["ch_mults"][0] != 1:
        raise ValueError(f"for diffusers, ch_mults must begin with 1; got {settings['ch_mults']}")
    attending = attention_widths(widths(settings), settings["is_attn"])
    if settings["n_heads"] > 1 and len(attending) > 1:
        raise ValueError(
            f"for diffusers, n_heads must be 1 where attention works on levels of different widths, here {attending} "
            f"channels, because its heads are all of one size, as with d_k; got {settings['n_heads']}"
        )
    factor = 2 ** (len(settings["ch_mults"]) - 1)
    sides = height_and_width(image_size)
    if len(sides) != 2 or any(not isinstance(side, int) or side < 1 or side % factor for side in sides):
        raise ValueError(
            f"image_size must be a side, or height and width, divisible by {factor}, as often as the U-Net halves it; "
            f"got {image_size!r}"
        )


def diffusers_settings(settings: Settings, image_size: int | tuple[int, int] | None) -> Settings:
    """What ``UNet2DModel`` calls the settings of a ``UNet``."""
    one_head = settings["n_heads"] == 1
    return {
        "sample_size": image_size,
        "in_channels": settings["image_channels"],
        "out_channels": settings["image_channels"],
        "block_out_channels": widths(settings),
        "layers_per_block": settings["n_blocks"],
        "down_block_types": tuple(DOWN[attn] for attn in settings["is_attn"]),
        "up_block_types": tuple(UP[attn] for attn in reversed(settings["is_attn"])),
        "downsample_padding": PADDING[settings["downsample"]],
        "attention_head_dim": settings["d_k"] if one_head else widths(settings)[-1] // settings["n_heads"],
        "norm_num_groups": settings["n_groups"],
        "norm_eps": settings["norm_eps"],
        "dropout": settings["dropout"],
        "act_fn": "silu",
        "flip_sin_to_cos": False,
        "freq_shift": settings["freq_shift"],
        "num_class_embeds": settings["n_classes"] and settings["n_classes"] + 1,
    }


def our_settings(model: "UNet2DModel") -> Settings:
    """What our ``UNet`` calls the settings of ``model``; ValueError naming those for which it has no word.

    They are translated there and back: a setting that comes back as another is one that we cannot express.
    """
    config = plain(dict(model.config))
    channels, is_attn = config["block_out_channels"], [name == DOWN[True] for name in config["down_block_types"]]
    n_heads, d_k = heads(config["attention_head_dim"], attention_widths(channels, is_attn))
    ours = {
        "image_channels": config["in_channels"],
        "n_channels": channels[0],
        "ch_mults": tuple(max(n // channels[0], 1) for n in channels),
        "is_attn": tuple(is_attn),
        "n_blocks": config["layers_per_block"],
        "n_heads": n_heads,
        "d_k": d_k,
        "n_groups": config["norm_num_groups"],
        "norm_eps": config["norm_eps"],
        "dropout": config["dropout"],
        "downsample": "symmetric" if config["downsample_padding"] == 1 else "asymmetric",
        "n_classes": config["num_class_embeds"] and config["num_class_embeds"] - 1,
        "freq_shift": 0 if config["freq_shift"] == 0 else 1,
    }
    defaults = {name: p.default for name, p in inspect.signature(type(model).__init__).parameters.items()}
    expected = defaults | diffusers_settings(ours, config["sample_size"])
    wrong = [name for name in expected if name in config and config[name] != expected[name]]
    if wrong:
        said = "; ".join(f"{name}={config[name]!r} ({REFUSED.get(name, 'not known here')})" for name in wrong)
        raise ValueError(f"our U-Net cannot express these settings of the UNet2DModel: {said}")
    return ours


def heads(head_dim: int | None, attending: list[int]) -> tuple[int, int | None]:
    """``n_heads`` and ``d_k`` for heads of ``head_dim`` channels, or for one head, at attention of these widths."""
    if head_dim is None:
        return 1, None
    if len(attending) == 1 and attending[0] % head_dim == 0:
        return attending[0] // head_dim, None
    return 1, head_dim


def plain(config: Settings) -> Settings:
    """A config of ``UNet2DModel`` without its notes, and with one spelling for what has several."""
    config = {name: tuple(v) if isinstance(v, list) else v for name, v in config.items() if not name.startswith("_")}
    channels, is_attn = config["block_out_channels"], [name == DOWN[True] for name in config["down_block_types"]]
    redundant = {
        "attention_head_dim": attention_widths(channels, is_attn),  # one head
        "attn_norm_num_groups": [config["norm_num_groups"]],
        "time_embedding_dim": [4 * channels[0]],
    }
    config |= {name: None for name, values in redundant.items() if [config.get(name)] == values}
    if config["act_fn"] == "swish":
        config["act_fn"] = "silu"
    config["flip_sin_to_cos"] = False  # see unet_from_diffusers
    config.pop("num_train_timesteps", None)  # for learned time embeddings only
    return config


def widths(settings: Settings) -> tuple[int, ...]:
    """Channels of every level of a ``UNet``."""
    return tuple(settings["n_channels"] * m for m in settings["ch_mults"])


def attention_widths(channels: Sequence[int], is_attn: Sequence[bool]) -> list[int]:
    """The different widths on which attention works: of the levels that have it, and of the middle."""
    return sorted({n for n, attn in zip(channels, is_attn, strict=True) if attn} | {channels[-1]})


# Weights


def layer_names(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every layer of our ``UNet`` and where diffusers keeps it.

    Ours is one flat list of blocks and resamplings down and one up; theirs has a module a level.
    """
    yield "image_proj", "conv_in"
    yield "time_emb.lin1", "time_embedding.linear_1"
    yield "time_emb.lin2", "time_embedding.linear_2"
    yield "class_emb", "class_embedding"
    levels, n_blocks = len(settings["ch_mults"]), settings["n_blocks"]
    yield from level_names("down", "downsamplers", levels, n_blocks)
    yield from residual_names("middle.res1", "mid_block.resnets.0")
    yield from attention_names("middle.attn", "mid_block.attentions.0")
    yield from residual_names("middle.res2", "mid_block.resnets.1")
    yield from level_names("up", "upsamplers", levels, n_blocks + 1)
    yield "norm", "conv_norm_out"
    yield "final", "conv_out"


def level_names(way: str, resamplers: str, levels: int, n_blocks: int) -> Iterator[tuple[str, str]]:
    """``layer_names`` of the way down or the way up."""
    position = count()
    for level in range(levels):
        theirs = f"{way}_blocks.{level}"
        for i in range(n_blocks):
            ours = f"{way}.{next(position)}"
            yield from residual_names(f"{ours}.res", f"{theirs}.resnets.{i}")
            yield from attention_names(f"{ours}.attn", f"{theirs}.attentions.{i}")
        if level < levels - 1:
            yield f"{way}.{next(position)}.conv", f"{theirs}.{resamplers}.0.conv"


def residual_names(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    """``layer_names`` of a residual block."""
    for name in ("norm1", "conv1", "norm2", "conv2"):
        yield f"{ours}.{name}", f"{theirs}.{name}"
    yield f"{ours}.time_emb", f"{theirs}.time_emb_proj"
    yield f"{ours}.shortcut", f"{theirs}.conv_shortcut"


def attention_names(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    """``layer_names`` of an attention block, where ``*`` stands for q, k and v, which are one layer in ours."""
    yield f"{ours}.norm", f"{theirs}.group_norm"
    yield f"{ours}.projection", f"{theirs}.to_*"
    yield f"{ours}.output", f"{theirs}.to_out.0"


def tensor_names(unet: UNet) -> dict[str, str]:
    """Every tensor of ``unet`` and what diffusers calls it; KeyError if one has no counterpart."""
    layers = dict(layer_names(unet.settings))
    names = (name.rpartition(".") for name in unet.state_dict())
    return {f"{layer}.{kind}": f"{layers[layer]}.{kind}" for layer, _, kind in names}


def head_count(unet: UNet, name: str) -> int:
    """The heads of the attention block that a tensor of ``unet`` belongs to."""
    block = unet.get_submodule(name.rpartition(".projection")[0])
    assert isinstance(block, AttentionBlock)
    return block.n_heads


def to_their_names(unet: UNet) -> dict[str, Tensor]:
    """Our weights as diffusers calls and cuts them."""
    weights, theirs = unet.state_dict(), {}
    for ours, name in tensor_names(unet).items():
        if "*" in name:
            n_heads = head_count(unet, ours)
            per_head = weights[ours].unflatten(0, (n_heads, 3, -1))  # q, k, v of the first head, of the second, ...
            for letter, part in zip("qkv", per_head.unbind(1), strict=True):
                theirs[name.replace("*", letter)] = part.flatten(0, 1)
        else:
            theirs[name] = weights[ours]
    return theirs


def to_our_names(theirs: dict[str, Tensor], unet: UNet) -> dict[str, Tensor]:
    """Weights of diffusers as ``unet`` calls and joins them; ValueError if some are left over."""
    theirs, ours = dict(theirs), {}
    for name, their_name in tensor_names(unet).items():
        if "*" in their_name:
            parts = [theirs.pop(their_name.replace("*", letter)) for letter in "qkv"]
            n_heads = head_count(unet, name)
            ours[name] = torch.stack([part.unflatten(0, (n_heads, -1)) for part in parts], 1).flatten(0, 2)
        else:
            ours[name] = theirs.pop(their_name)
    if theirs:
        raise ValueError(f"the UNet2DModel has weights for which our U-Net has no place, such as {min(theirs)}")
    return ours

"""Our U-Net in labml_nn."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddpm_lesson.exchange.core import check_expressible
from ddpm_lesson.runtime import needs
from ddpm_lesson.unet import UNet

LABML = {
    "n_heads": 1,
    "n_groups": 32,
    "final_groups": 8,
    "norm_eps": 1e-5,
    "downsample": "symmetric",
    "upsample": "transposed",
    "narrow": "before",
    "n_classes": None,
    "d_k": None,
    "freq_shift": 1,
}  # the settings of our U-Net that labml has built in


def labml_unet(unet: UNet, *, normalise: bool = True) -> nn.Module:
    """The same network in labml_nn, with a copy of the weights.

    Args:
        unet: ours, with labml's choices (``exchange.LABML``) and with each of ``ch_mults`` a multiple of the one
            before, because labml multiplies the width level by level.
        normalise: put labml's attention behind its normalisation, as ours is. With ``False`` the network is as labml
            published it: the normalisation is there and never applied.

    Returns:
        A ``labml_nn.diffusion.ddpm.unet.UNet`` on the same device, of the same precision, in the same mode.

    Raises:
        ValueError: if labml has no word for a setting.
        ImportError: if labml_nn is not installed.
    """
    needs("labml_nn", extra="labml")
    from labml_nn.diffusion.ddpm.unet import UNet as TheirUNet

    settings = unet.settings
    check_expressible("labml_nn", settings, LABML)
    multipliers = level_by_level(settings["ch_mults"])
    with torch.device("meta"):  # weights of its own would be thrown away
        theirs = TheirUNet(
            settings["image_channels"], settings["n_channels"], multipliers, settings["is_attn"], settings["n_blocks"]
        )
    theirs.load_state_dict({name: tensor.clone() for name, tensor in unet.state_dict().items()}, assign=True)
    for module in list(theirs.modules()):
        if isinstance(module, nn.Dropout):
            module.p = settings["dropout"]
        if normalise and hasattr(getattr(module, "attn", None), "norm"):
            module.attn = NormFirst(module.get_submodule("attn"))
    return theirs.train(unet.training)


class NormFirst(nn.Module):
    """labml's attention block made to look at what its normalisation says: x + attention(norm(x))."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); like labml's, it takes a time and does not use it."""
        h = self.block.get_submodule("norm")(x)
        return x + (self.block(h) - h)  # labml's block adds what it was given


def level_by_level(ch_mults: Sequence[int]) -> tuple[int, ...]:
    """Each width as a multiple of the one before, as labml counts; ValueError if one is not."""
    before = (1, *ch_mults[:-1])
    if any(m % b for m, b in zip(ch_mults, before, strict=True)):
        raise ValueError(f"for labml_nn, each of ch_mults must be a multiple of the one before; got {ch_mults}")
    return tuple(m // b for m, b in zip(ch_mults, before, strict=True))

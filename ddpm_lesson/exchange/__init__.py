"""The same U-Net in other libraries: into and out of diffusers, and into labml_nn.

A network of theirs is built with the settings of ours and takes over its weights. What the other side cannot express is
refused, and a weight without a place, or a place without a weight, is an error.
"""

from ddpm_lesson.exchange.diffusers import diffusers_unet, unet_from_diffusers
from ddpm_lesson.exchange.labml import LABML, labml_unet

__all__ = ["LABML", "diffusers_unet", "labml_unet", "unet_from_diffusers"]

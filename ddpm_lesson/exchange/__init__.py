"""The same model elsewhere: into and out of diffusers, network or whole pipeline, into labml_nn, and as ONNX.

A network of theirs is built with the settings of ours and takes over its weights. What the other side cannot express is
refused, and a weight without a place, or a place without a weight, is an error.
"""

from ddpm_lesson.exchange.diffusers import diffusers_unet, unet_from_diffusers
from ddpm_lesson.exchange.labml import LABML, labml_unet
from ddpm_lesson.exchange.onnx import to_onnx
from ddpm_lesson.exchange.pipelines import from_diffusers, import_diffusers, to_diffusers

__all__ = [
    "LABML",
    "diffusers_unet",
    "from_diffusers",
    "import_diffusers",
    "labml_unet",
    "to_diffusers",
    "to_onnx",
    "unet_from_diffusers",
]

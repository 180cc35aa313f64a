"""Models on disk: weights in safetensors, settings in readable JSON. Loading never executes code.

A folder holds ``settings.json`` and ``model.safetensors`` (the weights to sample from). While a run trains it also
holds ``training.safetensors``: everything that is needed to go on as if the run had never stopped. Models also go out
as pipelines of diffusers, and pipelines come in.
"""

from ddpm_lesson.checkpoint.diffusers import from_diffusers, import_diffusers, to_diffusers
from ddpm_lesson.checkpoint.files import (
    MODEL,
    SETTINGS,
    TRAINING,
    CheckpointError,
    find,
    image_shape,
    load,
    load_config,
    load_training,
    load_weights,
    read_settings,
    read_tensors,
    save,
    save_training,
    tensor_bytes,
    write_whole,
)

__all__ = [
    "MODEL",
    "SETTINGS",
    "TRAINING",
    "CheckpointError",
    "find",
    "from_diffusers",
    "image_shape",
    "import_diffusers",
    "load",
    "load_config",
    "load_training",
    "load_weights",
    "read_settings",
    "read_tensors",
    "save",
    "save_training",
    "tensor_bytes",
    "to_diffusers",
    "write_whole",
]

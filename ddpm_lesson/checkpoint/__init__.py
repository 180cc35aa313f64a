"""Models on disk: weights in safetensors, settings in readable JSON. Loading never executes code.

A folder holds ``settings.json`` and ``model.safetensors`` (the weights to sample from). While a run trains it also
holds ``training.safetensors``: everything that is needed to go on as if the run had never stopped, and the one before
it. Every file carries its step and a checksum.
"""

from ddpm_lesson.checkpoint.disk import CheckpointError, locked, read_json, read_tensors, tensor_bytes, write_whole
from ddpm_lesson.checkpoint.files import (
    MODEL,
    PREVIOUS,
    SETTINGS,
    TRAINING,
    check_free,
    find,
    holds_run,
    image_shape,
    load,
    load_any,
    load_flow,
    load_weights,
    present,
    read_settings,
    save,
)
from ddpm_lesson.checkpoint.training import (
    SavedRun,
    check_same_run,
    heal,
    load_config,
    load_training,
    open_run,
    restore,
    save_training,
)

__all__ = [
    "MODEL",
    "PREVIOUS",
    "SETTINGS",
    "TRAINING",
    "CheckpointError",
    "SavedRun",
    "check_free",
    "check_same_run",
    "find",
    "heal",
    "holds_run",
    "image_shape",
    "load",
    "load_any",
    "load_config",
    "load_flow",
    "load_training",
    "load_weights",
    "locked",
    "open_run",
    "present",
    "read_json",
    "read_settings",
    "read_tensors",
    "restore",
    "save",
    "save_training",
    "tensor_bytes",
    "write_whole",
]

"""Training: presets, the state of a run, and the loop as a generator of steps."""

from ddpm_lesson.train.batches import check_labels
from ddpm_lesson.train.loop import TrainState, TrainStep, build_diffusion, seconds_per_image, train
from ddpm_lesson.train.presets import PRESETS, TrainConfig, get_preset
from ddpm_lesson.train.processes import any_process, first_process_first, parts_of_batch, together

__all__ = [
    "PRESETS",
    "TrainConfig",
    "TrainState",
    "TrainStep",
    "any_process",
    "build_diffusion",
    "check_labels",
    "first_process_first",
    "get_preset",
    "parts_of_batch",
    "seconds_per_image",
    "together",
    "train",
]

"""Exercises of notebook 08: sizes, upsampling by hand, receptive fields, channels of the way up, and the up block."""

from ddpm_lesson.lesson.ch08_down_up_middle.exercises.sizes import check_conv_size, check_receptive_field
from ddpm_lesson.lesson.ch08_down_up_middle.exercises.upsampling import check_upsample_nearest
from ddpm_lesson.lesson.ch08_down_up_middle.exercises.way_up import check_up_block, check_up_channels

__all__ = [
    "check_conv_size", "check_receptive_field", "check_up_block", "check_up_channels", "check_upsample_nearest",
]  # fmt: skip

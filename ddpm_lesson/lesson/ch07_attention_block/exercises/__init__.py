"""Exercises of notebook 07: pixels to tokens and back, attention, heads, the whole block, and what it costs."""

from ddpm_lesson.lesson.ch07_attention_block.exercises.attention import check_attention
from ddpm_lesson.lesson.ch07_attention_block.exercises.block import check_attention_block, check_in_convolutions
from ddpm_lesson.lesson.ch07_attention_block.exercises.tokens import check_split_heads, check_to_image, check_to_tokens

__all__ = [
    "check_attention", "check_attention_block", "check_in_convolutions", "check_split_heads", "check_to_image",
    "check_to_tokens",
]  # fmt: skip

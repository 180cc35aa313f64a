"""Our U-Net as an ONNX file, which runs in browsers, on phones and wherever there is no Python."""

from pathlib import Path

import torch
from torch import nn

from ddpm_lesson.exchange.core import height_and_width
from ddpm_lesson.runtime import needs
from ddpm_lesson.sample import eval_mode
from ddpm_lesson.unet import UNet


def to_onnx(unet: nn.Module, path: str | Path, image_size: int | tuple[int, int]) -> None:
    """Write a network for images of one size as one file, dropout off.

    Its inputs are ``xt`` (B, C, H, W) in float32, ``t`` (B,) in float32, and ``class_labels`` (B,) in int64 if the
    network takes labels; its output is ``eps_theta``, or what else the network predicts. B is left open.

    Args:
        unet: the network, on any device, of any precision; written in float32.
        path: the file, such as ``"digits.onnx"``.
        image_size: side, or height and width, of the images.

    Raises:
        TypeError: if ``unet`` is something else.
        ValueError: if the network cannot halve the sides of the image often enough.
        OSError: if the file cannot be written.
        ImportError: if onnx or onnxscript is not installed.
    """
    needs("onnxscript", extra="onnx")
    if not isinstance(unet, UNet):
        raise TypeError(f"unet must be a UNet; got {type(unet).__name__}")
    inputs = {"xt": torch.zeros(2, unet.settings["image_channels"], *height_and_width(image_size)), "t": torch.zeros(2)}
    if unet.n_classes:
        inputs["class_labels"] = torch.zeros(2, dtype=torch.int64)
    plain = UNet(**unet.settings)
    plain.load_state_dict(unet.state_dict())
    plain.check_input(inputs["xt"], inputs["t"])
    first, *rest = torch.export.Dim("batch"), *[torch.export.Dim.DYNAMIC] * (len(inputs) - 1)
    torch.onnx.export(
        eval_mode(plain),
        tuple(inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=["eps_theta"],
        dynamic_shapes=tuple({0: size} for size in (first, *rest)),
        dynamo=True,
        external_data=False,
        verbose=False,
    )

"""What makes a training step faster here? ``python -m tests.benchmarks.training_speed --preset mnist``.

Forward and backward pass in plain float32 beside bf16, channels-last memory and ``torch.compile``, taken in turns so
that all meet the same machine. Prints seconds and the ratio to plain float32; below 1 is faster.
"""

import time
from collections.abc import Callable
from statistics import median

import click
import torch

from ddpm_lesson import get_device, get_preset
from ddpm_lesson.data import DATASETS
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.train import TrainConfig, build_diffusion

WAYS = {
    "float32": {},
    "float32, channels last": {"channels_last": True},
    "bf16": {"bf16": True},
    "bf16, channels last": {"bf16": True, "channels_last": True},
    "float32, compiled": {"compiled": True},
    "bf16, channels last, compiled": {"bf16": True, "channels_last": True, "compiled": True},
}


def make_step(
    config: TrainConfig,
    batch_size: int,
    device: torch.device,
    *,
    bf16: bool = False,
    channels_last: bool = False,
    compiled: bool = False,
) -> Callable[[], None]:
    """A function that does one forward and backward pass and waits for it."""
    shape = DATASETS[config.data]
    diffusion = build_diffusion(config, shape[0]).to(device)
    order = torch.channels_last if channels_last else torch.contiguous_format
    diffusion.eps_model.to(memory_format=order)
    x0 = torch.rand(batch_size, *shape, device=device).mul(2).sub(1).to(memory_format=order)
    if compiled:
        diffusion.eps_model.compile()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = diffusion.loss(x0)
        loss.backward()
        diffusion.eps_model.image_proj.bias.grad.sum().item()  # waits for the device

    return step


def seconds(step: Callable[[], None]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


@click.command()
@click.option("--preset", default="mnist", show_default=True)
@click.option("--batch-size", type=int, help="Images a step.  [default: the preset's]")
@click.option("--repeats", default=7, show_default=True)
@click.option("--compile/--no-compile", "with_compile", default=False, show_default=True, help="Also torch.compile.")
@click.option("--device", default="auto", show_default=True)
def main(preset: str, batch_size: int | None, repeats: int, with_compile: bool, device: str) -> None:
    """Time a training step in several ways."""
    config, device = get_preset(preset), get_device(device)
    ways = {name: way for name, way in WAYS.items() if with_compile or "compiled" not in way}
    steps = {name: make_step(config, batch_size or config.batch_size, device, **way) for name, way in ways.items()}
    taken = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            spent = seconds(step)
            if repeat > 0:  # the first call is slower
                taken[name].append(spent)
    plain = median(taken["float32"])
    rows = [(name, f"{median(t):.3f}", f"{median(t) / plain:.2f}") for name, t in taken.items()]
    click.echo(markdown_table((f"{preset}, {device}", "seconds a step", "ratio"), rows))


if __name__ == "__main__":
    main()

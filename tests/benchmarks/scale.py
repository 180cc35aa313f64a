"""What several processes cost, on paper and here: ``torchrun --nproc_per_node 4 -m tests.benchmarks.scale``.

Every process takes the steps of one run together with the others. Printed are, for this number of processes: a step,
what of it is the exchange of the gradients, and what is the drawing of the whole batch, which all of them do. Processor
time, and not the clock, says what a step costs where processes share cores.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from ddpm_lesson import get_device, get_preset
from ddpm_lesson.data import DATASETS, ImageDataset
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.runtime import n_processes, rank
from ddpm_lesson.train import TrainState, build_diffusion, together, train
from ddpm_lesson.train.batches import draw_batch

REPEATS = 6


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of this process' processor: the medians of some calls, after one that warms up."""
    taken = []
    for _ in range(REPEATS + 1):
        clock, processor = time.perf_counter(), time.process_time()
        call()
        taken.append((time.perf_counter() - clock, time.process_time() - processor))
    return median(t for t, _ in taken[1:]) * 1e3, median(t for _, t in taken[1:]) * 1e3


def exchange(n_numbers: int, device: torch.device) -> Callable[[], object]:
    """The sum of so many float32 numbers over all processes; nothing for one."""
    numbers = torch.zeros(n_numbers, device=device)
    return (lambda: None) if n_processes() == 1 else lambda: torch.distributed.all_reduce(numbers)


def flops_of_image(preset: str) -> tuple[float, float]:
    """Operations for one image, a multiply-add as two: forward, and forward and backward."""
    config = get_preset(preset)
    shape = DATASETS[config.data]
    diffusion, found = build_diffusion(config, shape[0]), []
    for backward in (False, True):
        with FlopCounterMode(display=False) as counter:
            loss = diffusion.loss(torch.zeros(1, *shape))
            if backward:
                loss.backward()
        found.append(counter.get_total_flops())
    return found[0], found[1]


@click.command()
@click.option("--preset", default="cifar10", show_default=True)
@click.option("--n-channels", default=32, show_default=True, help="Narrower than the preset, for a CPU.")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--device", default="auto", show_default=True)
def main(preset: str, n_channels: int, batch_size: int, device: str) -> None:
    """Take steps together and print a row."""
    device = get_device(device)
    config = replace(get_preset(preset, mixed_precision="no"), n_channels=n_channels, batch_size=batch_size)
    shape = DATASETS[config.data]
    with together(device):
        state = TrainState(config, shape, device)
        images = torch.randint(256, (4 * batch_size, *shape), dtype=torch.uint8)
        steps = train(state, dataset := ImageDataset(images))
        n_numbers = sum(p.numel() for p in state.diffusion.eps_model.parameters())
        step, of_step = milliseconds(lambda: next(steps))
        sharing, _ = milliseconds(exchange(n_numbers, device))
        drawing, _ = milliseconds(lambda: draw_batch(dataset, config, 0, state.diffusion))
    if rank() == 0:
        row = [n_processes(), batch_size // n_processes(), f"{4 * n_numbers / 1e6:.0f} MB"]
        row += [f"{value:.3g} ms" for value in (step, of_step, sharing, drawing)]
        head = ("processes", "images each", "gradients", "a step", "processor time", "exchange", "drawing the batch")
        click.echo(markdown_table(head, [row]))
        if n_processes() == 1:
            forward, both = flops_of_image(preset)
            click.echo(f"{preset}: {forward / 1e9:.3g} GFLOP an image forward, {both / 1e9:.3g} forward and backward")


if __name__ == "__main__":
    main()

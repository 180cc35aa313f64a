"""Are they digits? Ask a classifier trained on real MNIST: ``python tests/benchmarks/mnist_quality.py``.

Prints the share of samples that the classifier is sure of, beside the same figure for real test images, and how often
each digit comes up. MNIST is downloaded into ``DDPM_DATA`` if it is not there.
"""

import time
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson import DenoiseDiffusion, checkpoint, get_device, load_images, seed_everything
from ddpm_lesson.plots import grid_image, markdown_table
from ddpm_lesson.sample import ddim_steps

BATCH = 128
SURE = 0.9  # probability from which the classifier counts as sure


def make_classifier() -> nn.Sequential:
    """A small convolutional network: (B, 1, 28, 28) -> (B, 10) logits."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10)),
    )


def train_classifier(device: torch.device, epochs: int) -> nn.Sequential:
    """Train on the real training images."""
    dataset = load_images("mnist")
    model = make_classifier().to(device)
    steps = epochs * (len(dataset) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for step in range(steps):
        index = torch.randint(len(dataset), (BATCH,))
        loss = F.cross_entropy(model(dataset[index].to(device)), dataset.labels[index].to(device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 100 == 0:
            click.echo(f"classifier: step {step} of {steps}, loss {loss.item():.3f}", err=True)
    return model.eval()


@torch.no_grad()
def probabilities(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """What the classifier thinks of each image: (N, 1, 28, 28) -> (N, 10)."""
    return torch.cat([model(batch.to(device)).softmax(1).cpu() for batch in images.split(1000)])


def draw(diffusion: DenoiseDiffusion, n: int, steps: int, eta: float, seed: int) -> Tensor:
    """``n`` samples, in batches."""
    generator = torch.Generator().manual_seed(seed)
    images = []
    for start in range(0, n, 250):
        shape = (min(250, n - start), 1, 28, 28)
        for state in ddim_steps(diffusion, shape, steps, eta, generator):
            x0_hat = state.x0_hat
        images.append(x0_hat.cpu())
        click.echo(f"samples: {start + shape[0]} of {n}", err=True)
    return torch.cat(images)


def row(name: str, p: Tensor) -> tuple[str, str, str, str]:
    """Name, share of images that the classifier is sure of, mean confidence, count of every digit."""
    confidence, digit = p.max(dim=1)
    counts = torch.bincount(digit, minlength=10).tolist()
    return name, f"{(confidence > SURE).float().mean():.1%}", f"{confidence.mean():.3f}", " ".join(map(str, counts))


@click.command()
@click.option("--model", default="mnist", show_default=True, help="Checkpoint folder or shipped weights.")
@click.option("--n", default=1000, show_default=True, help="Samples to draw.")
@click.option("--steps", default=100, show_default=True, help="How many of the T times to visit.")
@click.option("--eta", default=1.0, show_default=True, help="Randomness of the sampler, 0 to 1.")
@click.option("--epochs", default=4, show_default=True, help="Training of the classifier.")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="runs/mnist_quality", show_default=True)
def main(model: str, n: int, steps: int, eta: float, epochs: int, seed: int, device: str, out: Path) -> None:
    """Measure how digit-like samples are."""
    device = get_device(device)
    seed_everything(seed)
    classifier = train_classifier(device, epochs)
    test = load_images("mnist", "test")
    p_test = probabilities(classifier, test[:], device)
    accuracy = (p_test.argmax(1) == test.labels).float().mean()
    click.echo(f"classifier: {accuracy:.2%} of the 10,000 test images right")

    start = time.perf_counter()
    images = draw(checkpoint.load(model, device), n, steps, eta, seed)
    click.echo(f"{n} samples of {steps} steps, eta {eta}, in {time.perf_counter() - start:.0f} s")
    out.mkdir(parents=True, exist_ok=True)
    grid_image(images[:64], min_side=720).save(out / "grid.png")
    header = ("", f"confidence above {SURE}", "mean confidence", "how often 0 1 2 .. 9")
    rows = [row(f"{n} samples", probabilities(classifier, images, device)), row("10,000 test images", p_test)]
    click.echo(markdown_table(header, rows))


if __name__ == "__main__":
    main()

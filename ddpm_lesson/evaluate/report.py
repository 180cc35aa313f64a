"""Everything at once: sample from a model and measure what comes out."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.data import to_bytes
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.evaluate.bits import BITS_HEADER, BitsPerDim, bits_per_dim, check_n_times
from ddpm_lesson.evaluate.classifier import JUDGED, SURE, Classifier, EvaluationError, Judgement, check_shape, judge
from ddpm_lesson.evaluate.frechet import (
    FRECHET_HEADER,
    Extractor,
    FrechetDistance,
    check_enough,
    check_images,
    extractor,
    frechet_distance,
    random_subset,
)
from ddpm_lesson.evaluate.neighbours import nearest_neighbours
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.sample import ddim_steps, final_samples

BATCH = 250

log = logging.getLogger(__name__)


def draw_samples(
    diffusion: DenoiseDiffusion,
    shape: tuple[int, int, int, int],
    n_steps: int = 50,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Samples in batches, as ``ddim_steps`` draws them; (N, C, H, W) in [-1, 1] on the CPU."""
    return in_batches(partial(ddim_steps, diffusion, n_steps=n_steps, eta=eta), shape, generator)


def in_batches(
    steps: Callable[..., Iterator[Any]],
    shape: tuple[int, int, int, int],
    generator: torch.Generator | None = None,
    progress: Callable[[int], object] = lambda n: None,
) -> Tensor:
    """Samples of any sampler that is called as ``steps(shape, generator=generator)``, a batch at a time.

    Returns:
        (N, C, H, W) in [-1, 1] on the CPU. ``progress`` is called with the number of images after every batch.
    """
    batches = []
    for part in torch.arange(shape[0]).split(BATCH):
        batches.append(final_samples(steps((len(part), *shape[1:]), generator=generator)).clamp(-1, 1).cpu())
        progress(len(part))
    return torch.cat(batches)


def unseen(held_out: Tensor, training_images: Tensor) -> Tensor:
    """Held-out images without those that are training images, byte for byte: these would flatter the model.

    How many are left out is logged as a warning. EvaluationError if fewer than two remain.
    """
    known = set(contents(training_images))
    new = [content not in known for content in contents(held_out)]
    copies = f"{new.count(False):,} of {len(new):,} held-out images are among the training images"
    if sum(new) < 2:
        raise EvaluationError(
            f"nothing can be said of images the model has not seen: {copies}. Before training, put some aside in a "
            "folder test/ beside train/"
        )
    if not all(new):
        log.warning("%s, and left out", copies)
    return held_out[torch.tensor(new, device=held_out.device)]


def contents(images: Tensor) -> Iterator[bytes]:
    """Every image (C, H, W) as its bytes, rounded batch by batch: 60,000 at once take half a gigabyte."""
    for batch in images.split(BATCH):
        yield from (image.numpy().tobytes() for image in to_bytes(batch.cpu()))


class Closeness(NamedTuple):
    """How near a set of images comes to the training images; root mean square difference, values in [-1, 1]."""

    median: float  # of the distance to the nearest training image
    least: float
    median_held_out: float  # the same for real images that the model has not seen
    least_held_out: float
    copies: float  # share nearer than all but 1 % of the held-out images

    def row(self) -> tuple[str, ...]:
        """The cells of a table."""
        pairs = (self.median, self.median_held_out), (self.least, self.least_held_out)
        return *(f"{mine:.3f} ({real:.3f})" for mine, real in pairs), f"{self.copies:.1%} (1.0%)"

    def _repr_markdown_(self) -> str:
        return markdown_table(CLOSENESS_HEADER, [self.row()])


CLOSENESS_HEADER = (
    "median distance to training (unseen real)",
    "least (unseen real)",
    "suspiciously near (unseen real)",
)


def closeness(samples: Tensor, training_images: Tensor, held_out: Tensor) -> Closeness:
    """Did it memorise? Distances from samples to the training images, beside those of real images it has not seen.

    All are (N, C, H, W) in [-1, 1]; training images are left out of the last, see ``unseen``. ValueError if shapes do
    not fit.
    """
    held_out = unseen(held_out, training_images)
    mine, real = (nearest_neighbours(x, training_images).distance for x in (samples, held_out))
    numbers = (mine.median(), mine.min(), real.median(), real.min(), (mine < real.quantile(0.01)).float().mean())
    return Closeness(*map(float, numbers))


class Diagnosis(NamedTuple):
    """Several sets of images under the same measures; renders as a table in a notebook."""

    names: tuple[str, ...]
    frechet: tuple[FrechetDistance, ...]
    judgements: tuple[Judgement, ...]
    closeness: tuple[Closeness, ...]

    def _repr_markdown_(self) -> str:
        rows = [
            (
                *(name, f"{distance.n_generated:,}", f"{distance.value:.1f}", f"{distance.floor:.1f}"),
                *(f"{said.sure:.0%}", f"{said.imbalance:.2f}", f"{near.copies:.0%}"),
            )
            for name, distance, said, near in zip(*self, strict=True)
        ]
        header = ["images", "N", "Frechet distance", "floor", f"confidence above {SURE}", "imbalance", "copies"]
        return markdown_table(header, rows)


def diagnose(
    sets: dict[str, Tensor],
    training_images: Tensor,
    held_out: Tensor,
    features: str | Extractor,
    classifier: Classifier,
) -> Diagnosis:
    """Every set against the training images: Frechet distance, what a classifier says, how near it comes to copies.

    Args:
        sets: name -> (N, C, H, W) in [-1, 1].
        training_images, held_out: real images; the second say how near an image may come that is no copy.
        features: see ``frechet_distance``.
        classifier: see ``judge``.

    Raises:
        ValueError, EvaluationError: as ``frechet_distance`` and ``judge``.
    """
    images = sets.values()
    return Diagnosis(
        tuple(sets),
        tuple(frechet_distance(features, training_images, x, held_out) for x in images),
        tuple(judge(classifier, x) for x in images),
        tuple(closeness(x, training_images, held_out) for x in images),
    )


class Evaluation(NamedTuple):
    """What is measured of a model; renders as tables in a notebook, and ``record`` is for JSON."""

    frechet: FrechetDistance
    bits: BitsPerDim
    closeness: Closeness
    judgement: Judgement | None  # of the samples; None without a classifier
    judgement_held_out: Judgement | None  # of the held-out images

    def record(self) -> dict:
        """All numbers, as JSON can hold them."""
        record = {name: part._asdict() for name, part in self._asdict().items() if part is not None}
        record["bits"]["L_t"] = None if self.bits.L_t is None else self.bits.L_t.tolist()
        return record

    def tables(self) -> list[str]:
        """The tables, in Markdown."""
        parts: list[tuple[Sequence[str], list[tuple[str, ...]]]] = [(FRECHET_HEADER, [self.frechet.row()])]
        if self.judgement and self.judgement_held_out:
            rows: list[tuple[str, ...]] = [
                ("samples", *self.judgement.row()),
                ("real, unseen", *self.judgement_held_out.row()),
            ]
            parts.append((("images", *JUDGED), rows))
        parts += [(CLOSENESS_HEADER, [self.closeness.row()]), (BITS_HEADER, [self.bits.row()])]
        return [markdown_table(header, rows) for header, rows in parts]

    def _repr_markdown_(self) -> str:
        return "\n\n".join(self.tables())


def evaluate(
    diffusion: DenoiseDiffusion,
    samples: Tensor,
    training_images: Tensor,
    held_out: Tensor,
    *,
    features: str | Extractor = "classifier",
    classifier: Classifier | None = None,
    n_bits: int = 100,
    n_times: int | None = 20,
    generator: torch.Generator | None = None,
) -> Evaluation:
    """Measure samples and the model they came from.

    Args:
        diffusion: the model.
        samples, training_images, held_out: (N, C, H, W) in [-1, 1]; the last are real images it has not seen.
        features: for the Frechet distance, see ``frechet_distance``.
        classifier: to say how sure it is of the samples; left out unless given.
        n_bits: how many held-out images, drawn at random, to measure bits per dimension on.
        n_times: terms of the bound for each of them; None for all.
        generator: where the noise of the bound comes from.

    Raises:
        ValueError: if shapes, ranges or numbers of images do not fit.
        EvaluationError: if what the features need is not here, or the held-out images are training images.
    """
    device, held_out = diffusion.device, unseen(held_out, training_images)
    if isinstance(features, str):
        features = extractor(features, tuple(samples.shape[1:]))
    check_evaluation(diffusion, samples.shape, training_images, held_out, features, classifier, n_times)
    return Evaluation(
        frechet=frechet_distance(features, training_images, samples, held_out, device=device),
        bits=bits_per_dim(diffusion, random_subset(held_out, n_bits), n_times, generator),
        closeness=closeness(samples, training_images, random_subset(held_out, len(samples))),
        judgement=judge(classifier, samples) if classifier else None,
        judgement_held_out=judge(classifier, held_out) if classifier else None,
    )


def check_evaluation(
    diffusion: DenoiseDiffusion,
    shape: tuple[int, ...],
    training_images: Tensor,
    held_out: Tensor,
    features: Extractor,
    classifier: Classifier | None = None,
    n_times: int | None = None,
) -> None:
    """Raise the ValueError that ``evaluate`` would raise on samples of a shape (N, C, H, W), before they are drawn."""
    check_images(training_images=training_images, held_out=held_out)
    check_shape("training_images", training_images.shape[1:], shape[1:])
    if classifier:
        check_shape("classifier", classifier.image_shape, shape[1:])
    counts = {"generated": shape[0], "held_out": min(shape[0], len(held_out)), "real": len(training_images)}
    for name, n in counts.items():
        check_enough(name, n, features.num_features)
    check_n_times(diffusion, n_times)

"""A small classifier: it says what an image shows, how sure it is, and gives features to compare sets by."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson import checkpoint
from ddpm_lesson.checkpoint.files import check_weights
from ddpm_lesson.data import ImageDataset, nearest
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.runtime import assets_folder, get_device
from ddpm_lesson.sample import eval_mode

FORMAT = "ddpm_lesson classifier 1"
SURE = 0.9  # probability from which a classifier counts as sure
JUDGED = (f"confidence above {SURE}", "mean confidence", "how often it sees each class")


class EvaluationError(RuntimeError):
    """Something that an evaluation needs is not here; the message says what, and where to get it."""


class Classifier(nn.Module):
    """Two convolutions and two linear layers, for images of at least 4 x 4 pixels.

    Args:
        image_shape: (C, H, W).
        n_classes: how many answers there are.
        n_channels: of the first convolution; the second has twice as many.
        n_features: width of the last hidden layer.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        n_classes: int = 10,
        n_channels: int = 32,
        n_features: int = 128,
    ):
        super().__init__()
        channels, height, width = image_shape
        for name, value in (("n_classes", n_classes), ("n_channels", n_channels), ("n_features", n_features)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}")
        if min(height, width) < 4:
            raise ValueError(f"image_shape must be at least 4 x 4 pixels; got {height} x {width}")
        self.image_shape = (channels, height, width)
        self.n_classes, self.n_channels, self.num_features = n_classes, n_channels, n_features
        self.body = nn.Sequential(
            *halved(channels, n_channels),
            *halved(n_channels, 2 * n_channels),
            *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(2 * n_channels * (height // 4) * (width // 4), n_features)),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(n_features, n_classes))

    @property
    def settings(self) -> dict:
        """The arguments that make this classifier again."""
        sizes = {"n_classes": self.n_classes, "n_channels": self.n_channels, "n_features": self.num_features}
        return {"image_shape": list(self.image_shape), **sizes}

    def features(self, x: Tensor) -> Tensor:
        """What the last hidden layer holds: (B, C, H, W) in [-1, 1] -> (B, n_features), none below 0."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, n_classes) logits."""
        return self.head(self.features(x))


def halved(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """A convolution and half the resolution."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    return convolution, nn.BatchNorm2d(out_channels), nn.ReLU(), nn.MaxPool2d(2)


# On disk


def save_classifier(classifier: Classifier, folder: str | Path, **info: object) -> None:
    """Write ``settings.json`` and ``model.safetensors`` in half precision.

    ``info`` is anything else for the settings. CheckpointError if the files cannot be written.
    """
    settings = {"format": FORMAT, "model": classifier.settings, **info}
    half = {name: t.half() if t.is_floating_point() else t for name, t in classifier.state_dict().items()}
    files = {
        checkpoint.MODEL: checkpoint.tensor_bytes(half),
        checkpoint.SETTINGS: (json.dumps(settings, indent=2) + "\n").encode(),
    }
    checkpoint.write_whole(Path(folder), files)


def shipped_classifiers() -> list[str]:
    """Names of the data sets with a classifier in ``assets``."""
    return sorted(file.parent.name for file in assets_folder().glob(f"classifier/*/{checkpoint.SETTINGS}"))


def load_classifier(folder_or_name: str | Path, device: str | torch.device = "auto") -> Classifier:
    """Read a classifier, ready to be asked.

    Args:
        folder_or_name: a folder that ``save_classifier`` wrote, or the data set of a shipped one: ``"digits"``
            (8 x 8), ``"mnist"`` (28 x 28) or ``"cifar10"`` (32 x 32, colour).
        device: where to put it, see ``get_device``.

    Raises:
        EvaluationError: if there is none.
        CheckpointError: if it cannot be read, or weights and settings do not fit together.
    """
    folder = Path(folder_or_name)
    if not os.path.isfile(folder / checkpoint.SETTINGS):
        shipped = shipped_classifiers()
        if str(folder) not in shipped:
            near = nearest(str(folder_or_name), shipped)
            raise EvaluationError(
                f"no classifier at {str(folder)!r}{near}: it must be a folder that 'ddpm-lesson train-classifier' "
                f"wrote, or one of {', '.join(shipped) or 'none here'}"
            )
        folder = assets_folder() / "classifier" / folder
    return read_classifier(folder).to(get_device(device)).eval()


def read_classifier(folder: Path) -> Classifier:
    """The classifier in ``folder``, in single precision; CheckpointError if it cannot be read."""
    file = folder / checkpoint.SETTINGS
    settings = checkpoint.read_json(file)
    try:
        if settings["format"] != FORMAT:
            raise ValueError(f"its format must be {FORMAT!r}; got {settings['format']!r}")
        with torch.device("meta"):  # settings may ask for any size, and memory is for those that the weights fit
            sketch = Classifier(**settings["model"])
    except (ValueError, KeyError, TypeError, OverflowError, RuntimeError) as error:
        raise checkpoint.CheckpointError(f"{file} does not describe a classifier: {error}") from error
    tensors, _ = checkpoint.read_tensors(folder / checkpoint.MODEL)
    check_weights(sketch, tensors, folder / checkpoint.MODEL)
    classifier = Classifier(**settings["model"])
    classifier.load_state_dict(tensors)
    return classifier


# Training


class ClassifierStep(NamedTuple):
    """Where the training of a classifier stands."""

    step: int  # steps done, 1 .. total
    total: int
    loss: float


def train_classifier(
    classifier: Classifier, dataset: ImageDataset, epochs: int = 4, seed: int = 0, batch_size: int = 128
) -> Iterator[ClassifierStep]:
    """Train in place with AdamW and one cycle of the learning rate; yields after every step.

    Args:
        classifier: on the device where it is to learn.
        dataset: images of its shape, with labels.
        epochs: passes over the data.
        seed: of the batches. The weights it starts from are the caller's.

    Raises:
        ValueError: if there are no labels, more classes than answers, images of another shape, or no epochs.
    """
    check_trainable(classifier, dataset)
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1; got {epochs}")
    device = next(classifier.parameters()).device
    total = max(1, epochs * len(dataset) // batch_size)
    optimizer = torch.optim.AdamW(classifier.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=total)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(dataset.labels)
    classifier.train()
    for step in range(1, total + 1):
        index = torch.randint(len(dataset), (batch_size,), generator=generator)
        loss = F.cross_entropy(classifier(dataset[index].to(device)), labels[index].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        yield ClassifierStep(step, total, loss.item())
    classifier.eval()


def check_trainable(classifier: Classifier, dataset: ImageDataset) -> None:
    """Raise a ValueError unless ``dataset`` has labels and images that fit."""
    if dataset.labels is None:
        raise ValueError("dataset must have labels to train a classifier; in a folder, sub-folders are the classes")
    if int(dataset.labels.max()) >= classifier.n_classes:
        raise ValueError(f"n_classes must be at least {int(dataset.labels.max()) + 1}; got {classifier.n_classes}")
    check_shape("dataset", dataset.shape, classifier.image_shape)


def check_shape(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Raise a ValueError unless images have the shape (C, H, W) that is wanted."""
    if tuple(shape) != tuple(wanted):
        raise ValueError(f"{name} must hold images of shape {tuple(wanted)}; got {tuple(shape)}")


# What it says


@torch.no_grad()
def in_batches(
    function: Callable[[Tensor], Tensor], images: Tensor, device: torch.device, batch_size: int = 500
) -> Tensor:
    """``function`` of every image, in batches on ``device``; the result on the CPU.

    It has its place from the start: a small result kept between large ones that are freed would splinter the memory.
    """
    results = torch.empty(0)
    for start in range(0, len(images), batch_size):
        result = function(images[start : start + batch_size].to(device))
        if start == 0:
            results = torch.empty(len(images), *result.shape[1:], dtype=result.dtype)
        results[start : start + batch_size] = result
    return results


def accuracy(classifier: Classifier, dataset: ImageDataset) -> float:
    """Share of the images whose label the classifier finds."""
    device = next(classifier.parameters()).device
    logits = in_batches(eval_mode(classifier), dataset[:], device)
    return float((logits.argmax(1) == torch.as_tensor(dataset.labels)).float().mean())


class Judgement(NamedTuple):
    """What a classifier thinks of a set of images; renders as a table in a notebook."""

    sure: float  # share of images with a probability above SURE
    mean: float  # mean of the largest probability
    counts: tuple[int, ...]  # images that it takes for each class

    @property
    def imbalance(self) -> float:
        """Total variation distance of the classes from equal shares, 0 (equal) .. 1 - 1 / n_classes (one class)."""
        n = len(self.counts)
        return 0.5 * sum(abs(count / sum(self.counts) - 1 / n) for count in self.counts)

    @property
    def chi_squared(self) -> float:
        """Pearson's distance of the counts from equal shares; about n_classes - 1 where the rest is chance."""
        expected = sum(self.counts) / len(self.counts)
        return sum((count - expected) ** 2 for count in self.counts) / expected

    @property
    def p_value(self) -> float:
        """How often draws from equal shares would have so large a ``chi_squared``."""
        half = torch.tensor([(len(self.counts) - 1) / 2, self.chi_squared / 2], dtype=torch.float64)
        return float(torch.special.gammaincc(*half))

    def row(self) -> tuple[str, str, str]:
        """The cells of a table."""
        return f"{self.sure:.1%}", f"{self.mean:.3f}", " ".join(map(str, self.counts))

    def _repr_markdown_(self) -> str:
        return markdown_table(["images", *JUDGED], [(f"{sum(self.counts):,}", *self.row())])


def judge(classifier: Classifier, images: Tensor) -> Judgement:
    """How sure the classifier is of images, and how often it sees each class.

    Args:
        classifier: see ``load_classifier``.
        images: (N, C, H, W) in [-1, 1].

    Raises:
        ValueError: if there are no images, or they are of another shape.
    """
    if len(images) == 0:
        raise ValueError("images must hold at least one image; got none")
    check_shape("images", images.shape[1:], classifier.image_shape)
    device = next(classifier.parameters()).device
    probability = in_batches(eval_mode(classifier), images, device).softmax(1)
    largest, answer = probability.max(1)
    counts = torch.bincount(answer, minlength=classifier.n_classes)
    return Judgement(float((largest > SURE).float().mean()), float(largest.mean()), tuple(counts.tolist()))

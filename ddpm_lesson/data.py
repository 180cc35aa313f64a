"""Images as tensors in [-1, 1]: digits, MNIST, Fashion-MNIST, CIFAR-10, or a folder of your own."""

import difflib
import logging
import os
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from PIL import Image

DOWNLOADED = {"mnist": "MNIST", "fashion": "FashionMNIST", "cifar10": "CIFAR10"}  # name -> torchvision's class
DATASETS = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion": (1, 28, 28), "cifar10": (3, 32, 32)}  # (C, H, W)
DIGITS_TRAIN = 1500  # of scikit-learn's 1,797 digits; the rest is the test split
LARGEST_SIDE = 4096  # of an image, in pixels

log = logging.getLogger(__name__)  # says what is left out of a folder


DOWNLOAD_ERRORS = (
    *(OSError, RuntimeError, HTTPException),  # the network
    *(ValueError, AssertionError, EOFError, UnpicklingError),  # files that were cut off
)


class DataError(RuntimeError):
    """Images that could not be found, fetched or read; the message says what to do."""


class ImageDataset(Dataset):
    """A set of images in memory, one byte a value.

    ``dataset[i]`` is one image (C, H, W) and ``dataset[indices]`` a batch (B, C, H, W), float32 in [-1, 1].

    Args:
        images: (N, C, H, W), uint8.
        labels: (N,) class numbers, or None.
        classes: names of the classes.
    """

    def __init__(self, images: Tensor, labels: Tensor | None = None, classes: tuple[str, ...] = ()):
        self.images = images
        self.labels = labels
        self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        return from_bytes(self.images[index])

    def part(self, chosen: Tensor) -> "ImageDataset":
        """Those of the images that are chosen, by an index or by True and False."""
        labels = None if self.labels is None else self.labels[chosen]
        return ImageDataset(self.images[chosen], labels, self.classes)

    def near(self, device: torch.device) -> "ImageDataset":
        """The same images, in the memory of a CUDA GPU if they take less than a gigabyte there."""
        if device.type != "cuda" or self.images.nbytes > 1e9:
            return self
        labels = None if self.labels is None else self.labels.to(device)
        return ImageDataset(self.images.to(device), labels, self.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width


def from_bytes(images: Tensor) -> Tensor:
    """Bytes 0 .. 255 -> float32 in [-1, 1] (Ho et al. 2020, section 3.3)."""
    return images.to(torch.float32, copy=True).div_(127.5).sub_(1)


def to_bytes(images: Tensor) -> Tensor:
    """Values in [-1, 1] -> bytes 0 .. 255; what lies outside is clipped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def load_images(
    name_or_path: str | Path, split: str = "train", image_size: int | None = None, *, download: bool = True
) -> ImageDataset:
    """Load a data set.

    Args:
        name_or_path: ``"digits"`` (comes with scikit-learn, works offline), ``"mnist"``, ``"fashion"``,
            ``"cifar10"`` (downloaded once into the folder that ``DDPM_DATA`` names), or a folder of images.
            In a folder, ``train/`` and ``test/`` are the splits if they are there, and sub-folders are the classes.
            What is left out of it is logged as a warning.
        split: ``"train"`` or ``"test"``.
        image_size: scale the shorter side to this many pixels, at most 4096, and cut out the middle square.
        download: fetch a data set that is not on this machine.

    Returns:
        The images, with ``labels`` and ``classes`` where there are any.

    Raises:
        ValueError: if the name, the split or the size is unknown or out of range.
        DataError: if a download fails or is not wanted, or a folder is empty or holds something that is not an image.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
    if image_size is not None and not (type(image_size) is int and 1 <= image_size <= LARGEST_SIDE):
        raise ValueError(f"image_size must be a whole number of pixels in 1 .. {LARGEST_SIDE}; got {image_size!r}")
    folder = os.path.expanduser(str(name_or_path))
    if name_or_path == "digits":
        dataset = load_digits(split)
    elif isinstance(name_or_path, str) and name_or_path in DOWNLOADED:
        dataset = load_torchvision(name_or_path, split, download)
    elif os.path.isdir(folder):
        return load_folder(Path(folder), split, image_size)
    else:
        raise ValueError(unknown_dataset(str(name_or_path)))
    if image_size is not None and image_size != dataset.shape[-1]:
        dataset.images = resize(dataset.images, image_size)
    return dataset


def unknown_dataset(name: str) -> str:
    """What to say when there is neither a data set nor a folder of this name."""
    near = nearest(name, list(DATASETS))
    return f"no data set or folder called {name!r}{near}; the data sets are {', '.join(DATASETS)}"


def nearest(name: str, names: list[str]) -> str:
    """``" (did you mean 'mnist'?)"``, or nothing if no name is close."""
    close = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def on_this_machine() -> list[str]:
    """Names of the data sets that load without a download."""
    return [name for name in DATASETS if name == "digits" or is_stored(name)]


def is_stored(name: str) -> bool:
    """Whether a data set that is downloaded on first use is on this machine already."""
    try:
        load_torchvision(name, "test", download=False)
    except DataError:
        return False
    return True


def data_folder() -> Path:
    """Where downloaded data sets live: ``DDPM_DATA``, or a cache in the home folder."""
    return Path(os.environ.get("DDPM_DATA") or Path.home() / ".cache" / "ddpm_lesson").expanduser()


def load_digits(split: str) -> ImageDataset:
    """Handwritten digits, 8 x 8 pixels with 17 grey levels, from scikit-learn: 1,500 to train, 297 to test."""
    from sklearn import datasets

    digits: Any = datasets.load_digits()
    part = slice(DIGITS_TRAIN) if split == "train" else slice(DIGITS_TRAIN, None)
    images = np.rint(digits.images[part, None] * (255 / 16)).astype(np.uint8)  # (N, 1, 8, 8)
    labels = torch.from_numpy(digits.target[part]).long()
    return ImageDataset(torch.from_numpy(images), labels, tuple("0123456789"))


def load_torchvision(name: str, split: str, download: bool) -> ImageDataset:
    """MNIST, Fashion-MNIST or CIFAR-10, downloaded on first use if ``download`` allows it."""
    from torchvision import datasets

    source = getattr(datasets, DOWNLOADED[name])
    root = data_folder()
    try:
        raw = source(root, train=split == "train", download=download)
    except DOWNLOAD_ERRORS as error:
        if not download:
            raise DataError(f"{name!r} is not on this machine; load_images({name!r}) fetches it, once") from error
        raise DataError(download_advice(name, source, root, error)) from error
    images = torch.as_tensor(raw.data)  # MNIST: (N, H, W); CIFAR-10: (N, H, W, 3)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return ImageDataset(images, torch.as_tensor(raw.targets), tuple(raw.classes))


def download_advice(name: str, source: type, root: Path, error: Exception) -> str:
    """What was tried, where to put the files by hand, and what works offline."""
    if name == "cifar10":
        tried, files, place = [source.url], [source.filename], root
    else:
        tried, place = source.mirrors, root / source.__name__ / "raw"
        files = [file for file, _ in source.resources]
    return (
        f"could not get the data set {name!r} ({error}).\n"
        f"  Tried: {', '.join(tried)}\n"
        f"  By hand: put {', '.join(files)} into {place}\n"
        f"  Damaged: delete what is in {place} and try again\n"
        f"  Another place: set the environment variable DDPM_DATA\n"
        f"  Offline: the data set 'digits' needs no download"
    )


def load_folder(folder: Path, split: str, image_size: int | None) -> ImageDataset:
    """A folder of images; sub-folders are classes. Grey only if every image is.

    A folder without ``train/`` and ``test/`` is the same for both splits.
    """
    folder = folder_of_split(folder, split)
    files = image_files(folder)
    pictures = [read_image(f, image_size) for f in files]
    check_same_size(files, pictures)
    for what, field in (("only the first picture is taken", "animated"), ("edges are cut off", "cropped")):
        say(what, [f for f, p in zip(files, pictures, strict=True) if getattr(p, field)], folder)
    images = torch.stack([p.pixels for p in pictures])  # (N, 3, H, W)
    if all(p.grey for p in pictures):
        images = images[:, :1].contiguous()
    names = [f.relative_to(folder).parts[0] if f.parent != folder else "" for f in files]
    classes = sorted(set(names))
    labels = torch.tensor([classes.index(n) for n in names]) if len(classes) > 1 else None
    return ImageDataset(images, labels, tuple(classes) if labels is not None else ())


def folder_of_split(folder: Path, split: str) -> Path:
    """``train/`` or ``test/`` of a folder, in capitals or not; the folder itself if it has neither."""
    try:
        inside = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"the folder {str(folder)!r} cannot be read: {error.strerror}") from error
    splits = {path.name.lower(): path for path in inside if path.name.lower() in ("train", "test") and path.is_dir()}
    if not splits:
        return folder
    say("left out, beside train and test", [f for f in inside if f not in splits.values() and not is_hidden(f)], folder)
    return splits.get(split, folder / split)


def image_files(folder: Path) -> list[Path]:
    """The images in a folder and below, by their names; what else is there is said. DataError if there are none."""
    from PIL import Image

    closed: list[OSError] = []
    walk = list(os.walk(folder, onerror=closed.append))
    found = [Path(place, name) for place, _, names in walk for name in names]
    linked = [path for place, folders, _ in walk for path in map(Path(place).joinpath, folders) if path.is_symlink()]
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    images = {f for f in found if f.suffix.lower() in endings and f.is_file() and not is_hidden(f.relative_to(folder))}
    left_out = {*found, *linked, *(Path(error.filename) for error in closed)} - images
    say("left out, no image or out of reach", [f for f in left_out if not is_hidden(f.relative_to(folder))], folder)
    if not images:
        raise DataError(f"the folder {str(folder)!r} holds no images")
    return sorted(images)


def say(what: str, files: list[Path], folder: Path) -> None:
    """Log a warning that names up to three of the files it is about, if there are any."""
    if files:
        more = f" and {len(files) - 3:,} more" if len(files) > 3 else ""
        names = ", ".join(str(f.relative_to(folder)) for f in sorted(files)[:3])
        log.warning("%s: %s: %s%s", folder, what, names, more)


def is_hidden(path: Path) -> bool:
    """Files that systems leave in folders, such as .DS_Store and Thumbs.db."""
    return any(part.startswith(".") for part in path.parts) or path.name.lower() in ("thumbs.db", "desktop.ini")


class Picture(NamedTuple):
    """An image file, and what was done to it."""

    pixels: Tensor  # (3, H, W) bytes
    grey: bool  # stored in grey
    animated: bool  # there are more pictures in the file
    cropped: bool  # what was outside of the middle square is gone


def read_image(file: Path, image_size: int | None) -> Picture:
    """One picture, upright, on white and scaled to ``image_size``; DataError if it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            grey = opened.mode in ("1", "L", "LA") or opened.mode[0] in "IF"
            animated = getattr(opened, "is_animated", False)
            if opened.mode == "I" and opened.format != "PNG":  # 16 bits in a PNG
                raise ValueError("it holds whole numbers of 32 bits, and nobody knows which of them is white")
            picture = on_white(eight_bits(ImageOps.exif_transpose(opened)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{str(file)!r} is not an image that can be read ({error}); move it elsewhere") from error
    cropped = image_size is not None and picture.width != picture.height
    if image_size is not None:
        picture = ImageOps.fit(picture, (image_size, image_size), Image.Resampling.BICUBIC)
    return Picture(torch.from_numpy(np.array(picture)).permute(2, 0, 1), grey, animated, cropped)


def eight_bits(picture: "Image.Image") -> "Image.Image":
    """A Pillow image with bytes, from 16 bits or from fractions 0 .. 1; ValueError if values lie outside."""
    from PIL import Image

    if picture.mode[0] not in "IF":
        return picture
    values, white = np.asarray(picture), 1 if picture.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= white):
        raise ValueError(f"its values must lie in 0 .. {white}; they lie in {values.min():g} .. {values.max():g}")
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))


def on_white(picture: "Image.Image") -> "Image.Image":
    """A Pillow image in RGB, with white behind what is transparent."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def check_same_size(files: list[Path], pictures: list[Picture]) -> None:
    """Raise a DataError naming two images of different size, if there are any."""
    first = pictures[0].pixels.shape
    for file, (pixels, *_) in zip(files, pictures, strict=True):
        if pixels.shape != first:
            raise DataError(
                f"images must have one size: {files[0].name} is {first[2]} x {first[1]} pixels and "
                f"{file.name} is {pixels.shape[2]} x {pixels.shape[1]}; image_size scales them all"
            )


def resize(images: Tensor, image_size: int) -> Tensor:
    """Scale square images (N, C, H, W) to ``image_size`` pixels a side."""
    from torchvision.transforms.v2 import functional as T

    return T.resize(images, [image_size, image_size], antialias=True)

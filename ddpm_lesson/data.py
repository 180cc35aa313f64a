"""Images as tensors in [-1, 1]: digits, MNIST, Fashion-MNIST, CIFAR-10, or a folder of your own."""

import difflib
import os
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

DOWNLOADED = {"mnist": "MNIST", "fashion": "FashionMNIST", "cifar10": "CIFAR10"}  # name -> torchvision's class
DATASETS = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion": (1, 28, 28), "cifar10": (3, 32, 32)}  # (C, H, W)
DIGITS_TRAIN = 1500  # of scikit-learn's 1,797 digits; the rest is the test split


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

    def near(self, device: torch.device) -> "ImageDataset":
        """The same images, in the memory of a CUDA GPU if they take less than a gigabyte there."""
        if device.type != "cuda" or self.images.nbytes > 1e9:
            return self
        return ImageDataset(self.images.to(device), self.labels, self.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return tuple(self.images.shape[1:])


def from_bytes(images: Tensor) -> Tensor:
    """Bytes 0 .. 255 -> float32 in [-1, 1] (Ho et al. 2020, section 3.3)."""
    return images.float() / 127.5 - 1


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
        split: ``"train"`` or ``"test"``.
        image_size: scale the shorter side to this many pixels and cut out the middle square.
        download: fetch a data set that is not on this machine.

    Returns:
        The images, with ``labels`` and ``classes`` where there are any.

    Raises:
        ValueError: if the name, the split or the size is unknown or out of range.
        DataError: if a download fails or is not wanted, or a folder is empty or holds something that is not an image.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel; got {image_size}")
    if name_or_path == "digits":
        dataset = load_digits(split)
    elif name_or_path in DOWNLOADED:
        dataset = load_torchvision(name_or_path, split, download)
    elif str(name_or_path) and Path(name_or_path).expanduser().is_dir():
        return load_folder(Path(name_or_path).expanduser(), split, image_size)
    else:
        raise ValueError(unknown_dataset(str(name_or_path)))
    if image_size not in (None, dataset.shape[-1]):
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

    digits = datasets.load_digits()
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
    if any((folder / name).is_dir() for name in ("train", "test")):
        folder = folder / split
    files = sorted(f for f in folder.rglob("*") if f.is_file() and not is_hidden(f.relative_to(folder)))
    if not files:
        raise DataError(f"the folder {str(folder)!r} holds no images")
    pictures = [read_image(f, image_size) for f in files]
    check_same_size(files, pictures)
    images = torch.stack([p for p, _ in pictures])  # (N, 3, H, W)
    if all(grey for _, grey in pictures):
        images = images[:, :1].contiguous()
    names = [f.relative_to(folder).parts[0] if f.parent != folder else "" for f in files]
    classes = sorted(set(names))
    labels = torch.tensor([classes.index(n) for n in names]) if len(classes) > 1 else None
    return ImageDataset(images, labels, tuple(classes) if labels is not None else ())


def is_hidden(path: Path) -> bool:
    """Files that systems leave in folders, such as .DS_Store and Thumbs.db."""
    return any(part.startswith(".") for part in path.parts) or path.name.lower() in ("thumbs.db", "desktop.ini")


def read_image(file: Path, image_size: int | None) -> tuple[Tensor, bool]:
    """One picture as (3, H, W) bytes, and whether it was stored in grey."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as picture:
            grey = picture.mode in ("1", "L", "LA") or picture.mode.startswith("I")
            if picture.mode.startswith("I"):  # 16 bits
                picture = Image.fromarray(np.rint(np.asarray(picture) / 257).astype(np.uint8))
            picture = on_white(ImageOps.exif_transpose(picture))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{str(file)!r} is not an image that can be read ({error}); move it elsewhere") from error
    if image_size is not None:
        picture = ImageOps.fit(picture, (image_size, image_size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1), grey


def on_white(picture):
    """A Pillow image in RGB, with white behind what is transparent."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def check_same_size(files: list[Path], pictures: list[tuple[Tensor, bool]]) -> None:
    """Raise a DataError naming two images of different size, if there are any."""
    first = pictures[0][0].shape
    for file, (picture, _) in zip(files, pictures, strict=True):
        if picture.shape != first:
            raise DataError(
                f"images must have one size: {files[0].name} is {first[2]} x {first[1]} pixels and "
                f"{file.name} is {picture.shape[2]} x {picture.shape[1]}; image_size scales them all"
            )


def resize(images: Tensor, image_size: int) -> Tensor:
    """Scale square images (N, C, H, W) to ``image_size`` pixels a side."""
    from torchvision.transforms.v2 import functional as T

    return T.resize(images, [image_size, image_size], antialias=True)

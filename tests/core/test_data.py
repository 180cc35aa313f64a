"""Images arrive as tensors in [-1, 1], whatever they were, and errors say what to do."""

import gzip
import hashlib
import os
import pickle
import struct
import tarfile
import urllib.request
import zlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from ddpm_lesson.data import DATASETS, DataError, ImageDataset, data_folder, from_bytes, load_images, to_bytes

REAL_DATA = os.environ.get("DDPM_TEST_DATA", "")
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("the network is off")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty folder for downloads."""
    monkeypatch.setenv("DDPM_DATA", str(tmp_path))
    return tmp_path


# Bytes and units


def test_to_bytes_undoes_from_bytes_for_every_byte():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(from_bytes(values)), values)


def test_from_bytes_maps_black_to_minus_one_and_white_to_one():
    assert from_bytes(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


def test_to_bytes_clips_what_lies_outside():
    assert to_bytes(torch.tensor([-3.0, 0.0, 7.0])).tolist() == [0, 128, 255]


def test_one_index_gives_an_image_and_several_give_a_batch():
    dataset = ImageDataset(torch.zeros(5, 1, 2, 3, dtype=torch.uint8))
    assert dataset[0].shape == dataset.shape == (1, 2, 3)
    assert dataset[torch.tensor([4, 1])].shape == (2, 1, 2, 3)
    assert dataset[1:4].shape == (3, 1, 2, 3)


# Digits


@pytest.mark.parametrize(("split", "count"), [("train", 1500), ("test", 297)])
def test_digits_are_small_grey_images_in_unit_range(split, count):
    digits = load_images("digits", split)
    images = digits[:]
    assert len(digits) == len(digits.labels) == count
    assert images.shape == (count, 1, 8, 8)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (-1, 1)
    assert digits.labels.unique().tolist() == list(range(10))
    assert digits.classes == tuple("0123456789")


def test_digit_splits_share_no_image_and_miss_none():
    from sklearn.datasets import load_digits

    source = load_digits()
    both = torch.cat((load_images("digits", "train")[:], load_images("digits", "test")[:]))
    expected = torch.from_numpy(source.images).float()[:, None] / 8 - 1
    torch.testing.assert_close(both, expected, rtol=0, atol=0.004)


def test_digits_scale_to_image_size():
    assert load_images("digits", image_size=16)[:2].shape == (2, 1, 16, 16)
    assert torch.equal(load_images("digits", image_size=8)[:2], load_images("digits")[:2])


# Downloaded data sets


def idx_bytes(array: np.ndarray) -> bytes:
    """``array`` in the format of the MNIST files."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_contents() -> dict[str, np.ndarray]:
    """Three training images and two test images, with labels."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (3, 2)]
    labels = [np.array(v, dtype=np.uint8) for v in ([7, 0, 9], [1, 2])]
    return dict(zip(IDX_FILES, (images[0], labels[0], images[1], labels[1]), strict=True))


def check_idx_data(name: str) -> None:
    contents = idx_contents()
    for split, (images, labels) in {"train": IDX_FILES[:2], "test": IDX_FILES[2:]}.items():
        dataset = load_images(name, split)
        assert np.array_equal(to_bytes(dataset[:])[:, 0], contents[images])
        assert dataset.labels.tolist() == contents[labels].tolist()
        assert len(dataset.classes) == 10


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion", "FashionMNIST")])
def test_files_already_there_are_read_without_a_network(home, name, folder):
    raw = home / folder / "raw"
    raw.mkdir(parents=True)
    for file, array in idx_contents().items():
        (raw / file).write_bytes(idx_bytes(array))
    check_idx_data(name)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion", "FashionMNIST")])
def test_archives_put_there_by_hand_are_unpacked(home, monkeypatch, name, folder):
    raw = home / folder / "raw"
    raw.mkdir(parents=True)
    archives = {f"{file}.gz": gzip.compress(idx_bytes(array)) for file, array in idx_contents().items()}
    for file, content in archives.items():
        (raw / file).write_bytes(content)
    sums = [(file, hashlib.md5(content).hexdigest()) for file, content in archives.items()]
    monkeypatch.setattr(getattr(datasets, folder), "resources", sums)
    check_idx_data(name)


@pytest.fixture
def cifar_archive(home, monkeypatch) -> dict[str, np.ndarray]:
    """A CIFAR-10 archive with one image a batch, put into the download folder by hand; the images by batch name."""
    rng = np.random.default_rng(1)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    batches = {name: rng.integers(0, 256, (1, 3 * 32 * 32), dtype=np.uint8) for name in names}
    content = {n: pickle.dumps({"data": b, "labels": [i]}) for i, (n, b) in enumerate(batches.items())}
    content["batches.meta"] = pickle.dumps({"label_names": [f"class {i}" for i in range(10)]})
    folder = home / "cifar-10-batches-py"
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    archive = home / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    for file in folder.iterdir():
        file.unlink()
    sums = {name: hashlib.md5(data).hexdigest() for name, data in content.items()}
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[n, sums[n]] for n in names[:5]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [[names[5], sums[names[5]]]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": sums["batches.meta"]})
    return {name: b.reshape(1, 3, 32, 32) for name, b in batches.items()}


def test_cifar_archive_becomes_colour_images_with_labels(cifar_archive):
    train, test = load_images("cifar10"), load_images("cifar10", "test")
    *train_batches, test_batch = cifar_archive.values()
    assert np.array_equal(to_bytes(train[:]), np.concatenate(train_batches))
    assert np.array_equal(to_bytes(test[:]), test_batch)
    assert train.labels.tolist() == [0, 1, 2, 3, 4]
    assert test.labels.tolist() == [5]
    assert train.classes[3] == "class 3"


@pytest.mark.parametrize(
    ("name", "place", "server", "files"),
    [
        ("mnist", "MNIST/raw", "mnist/", IDX_FILES),
        ("fashion", "FashionMNIST/raw", "fashion-mnist", IDX_FILES),
        ("cifar10", "", "cs.toronto.edu", ["cifar-10-python.tar.gz"]),
    ],
)
def test_failed_download_says_what_was_tried_and_what_else_works(home, name, place, server, files):
    with pytest.raises(DataError) as error:
        load_images(name)
    for words in ("the network is off", "http", server, str(home / place), "DDPM_DATA", "'digits'", *files):
        assert words in str(error.value)


@pytest.mark.parametrize("length", [0, 3, 50])
def test_damaged_download_is_a_data_error(home, length):
    raw = home / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file, array in idx_contents().items():
        (raw / file).write_bytes(idx_bytes(array)[:length])
    with pytest.raises(DataError, match="MNIST"):
        load_images("mnist")


def test_data_folder_is_in_the_home_folder_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv("DDPM_DATA", raising=False)
    assert data_folder() == Path.home() / ".cache" / "ddpm_lesson"
    monkeypatch.setenv("DDPM_DATA", "~/elsewhere")
    assert data_folder() == Path.home() / "elsewhere"


@pytest.mark.skipif(not REAL_DATA, reason="DDPM_TEST_DATA names no folder with the real MNIST")
@pytest.mark.parametrize(("split", "count"), [("train", 60_000), ("test", 10_000)])
def test_real_mnist_is_complete(monkeypatch, split, count):
    monkeypatch.setenv("DDPM_DATA", REAL_DATA)
    mnist = load_images("mnist", split)
    assert mnist.images.shape == (count, 1, 28, 28)
    assert (mnist.images.min(), mnist.images.max()) == (0, 255)
    assert mnist.labels.unique().tolist() == list(range(10))


# Folders of images


def picture(mode: str = "L", size: tuple[int, int] = (4, 4), color=0) -> Image.Image:
    return Image.new(mode, size, color)


def put(image: Image.Image, file: Path, **options) -> Path:
    """Save ``image`` as ``file`` and return its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, **options)
    return file.parent


def corner(folder: Path) -> list[int]:
    """Bytes of the first pixel of the first image in ``folder``."""
    return load_images(folder).images[0, :, 0, 0].tolist()


def test_flat_folder_is_read_in_the_order_of_its_names(tmp_path):
    for name, grey in (("b.png", 20), ("a.png", 10), ("c.png", 30)):
        put(picture(color=grey), tmp_path / name)
    dataset = load_images(tmp_path)
    assert dataset.images[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert dataset.images.dtype == torch.uint8
    assert dataset.labels is None
    assert dataset.classes == ()


def test_folder_may_be_named_by_text(tmp_path):
    put(picture(), tmp_path / "a.png")
    assert len(load_images(str(tmp_path))) == 1


def test_subfolders_are_classes(tmp_path):
    for name, grey in (("dog/1.png", 1), ("cat/2.png", 2), ("cat/deeper/3.png", 3)):
        put(picture(color=grey), tmp_path / name)
    dataset = load_images(tmp_path)
    assert dataset.classes == ("cat", "dog")
    by_image = dict(zip(dataset.images[:, 0, 0, 0].tolist(), dataset.labels.tolist(), strict=True))
    assert by_image == {1: 1, 2: 0, 3: 0}


@pytest.mark.parametrize(("split", "greys"), [("train", [1, 2]), ("test", [3])])
def test_train_and_test_folders_are_the_splits(tmp_path, split, greys):
    for name, grey in (("train/x/1.png", 1), ("train/y/2.png", 2), ("test/x/3.png", 3)):
        put(picture(color=grey), tmp_path / name)
    assert load_images(tmp_path, split).images[:, 0, 0, 0].tolist() == greys


@pytest.mark.parametrize(("split", "greys"), [("train", [1]), ("test", [3])])
def test_the_names_of_the_splits_may_have_capitals(tmp_path, caplog, split, greys):
    for name, grey in (("Train/1.png", 1), ("TEST/3.png", 3), ("loose.png", 4)):
        put(picture(color=grey), tmp_path / name)
    assert load_images(tmp_path, split).images[:, 0, 0, 0].tolist() == greys
    assert "left out, beside train and test: loose.png" in caplog.text


def test_test_split_never_falls_back_to_training_images(tmp_path):
    put(picture(), tmp_path / "train" / "a.png")
    with pytest.raises(DataError, match="test"):
        load_images(tmp_path, "test")


def test_grey_images_keep_one_channel(tmp_path):
    put(picture("L", color=7), tmp_path / "a.png")
    put(picture("1", color=1), tmp_path / "b.png")
    dataset = load_images(tmp_path)
    assert dataset.shape == (1, 4, 4)
    assert dataset.images[:, 0, 0, 0].tolist() == [7, 255]


def test_one_coloured_image_makes_all_coloured(tmp_path):
    put(picture("L", color=7), tmp_path / "a.png")
    put(picture("RGB", color=(1, 2, 3)), tmp_path / "b.png")
    assert load_images(tmp_path).images[:, :, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
        ("RGBA", (10, 20, 30, 128), [132, 137, 142]),  # 128 / 255 of the colour, the rest white
        ("RGBA", (10, 20, 30, 0), [255, 255, 255]),
        ("LA", (10, 255), [10]),
        ("LA", (10, 128), [132]),
        ("LA", (10, 0), [255]),
        ("CMYK", (0, 255, 255, 0), [255, 0, 0]),
    ],
)
def test_other_colour_modes_become_rgb_or_grey(tmp_path, mode, color, expected):
    assert corner(put(picture(mode, color=color), tmp_path / "a.tiff")) == expected


def palette_picture() -> Image.Image:
    image = picture("P", color=1)
    image.putpalette([0, 0, 0, 255, 128, 0] + [0] * 762)
    return image


@pytest.mark.parametrize("options", [{}, {"transparency": 0}, {"transparency": bytes([0, 255])}])
def test_palette_images_take_the_colours_of_their_palette(tmp_path, options):
    assert corner(put(palette_picture(), tmp_path / "a.png", **options)) == [255, 128, 0]


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_sixteen_bit_grey_keeps_its_brightness(tmp_path, name):
    values = np.full((4, 4), 32896, dtype=np.uint16)  # 128 * 257
    assert corner(put(Image.fromarray(values), tmp_path / name)) == [128]


def test_photos_are_turned_the_way_the_camera_says(tmp_path):
    photo = picture("RGB", (32, 16))
    photo.paste((255, 255, 255), (0, 0, 16, 16))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to look at it
    images = load_images(put(photo, tmp_path / "a.jpg", exif=exif, quality=95)).images[0]
    assert images.shape == (3, 32, 16)
    assert images[:, :15].min() > 240
    assert images[:, 17:].max() < 15


def test_sixteen_bit_images_are_turned_the_way_the_camera_says_too(tmp_path):
    values = np.zeros((4, 8), dtype=np.uint16)
    values[:, :4] = 65535  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6
    image = load_images(put(Image.fromarray(values), tmp_path / "a.png", exif=exif)).images[0, 0]
    assert image.tolist() == [[255] * 4] * 4 + [[0] * 4] * 4


def test_fractions_are_read_from_black_to_white(tmp_path):
    values = np.array([[0, 0.25], [0.5, 1]], dtype=np.float32)
    images = load_images(put(Image.fromarray(values), tmp_path / "a.tiff")).images
    assert images.tolist() == [[[[0, 64], [128, 255]]]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[0, 200]], dtype=np.float32), r"0 \.\. 1; they lie in 0 \.\. 200"),
        (np.array([[-0.5, 1]], dtype=np.float32), r"0 \.\. 1; they lie in -0\.5"),
        (np.array([[0, np.nan]], dtype=np.float32), r"0 \.\. 1"),
        (np.array([[0, 70_000]], dtype=np.int32), "32 bits"),
        (np.array([[0, 200]], dtype=np.int32), "32 bits"),
    ],
)
def test_numbers_whose_white_is_unknown_are_refused(tmp_path, values, words):
    put(Image.fromarray(values), tmp_path / "a.tiff")
    with pytest.raises(DataError, match=words):
        load_images(tmp_path)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.tiff", "a.webp"])
def test_of_a_film_the_first_picture_is_taken_and_that_is_said(tmp_path, caplog, name):
    options = {"save_all": True, "append_images": [picture("RGB", color=(0, 0, 255))]}
    put(picture("RGB", color=(255, 0, 0)), tmp_path / name, **options)
    assert load_images(tmp_path).images[0, 0].min() > 240  # red
    assert f"only the first picture is taken: {name}" in caplog.text


def test_cut_off_edges_are_said(tmp_path, caplog):
    put(picture("L", (24, 8)), tmp_path / "wide.png")
    put(picture("L", (8, 8)), tmp_path / "square.png")
    load_images(tmp_path, image_size=8)
    assert "edges are cut off: wide.png" in caplog.text
    assert "square" not in caplog.text


def test_image_size_cuts_out_the_middle_square(tmp_path):
    wide = picture("L", (24, 8))
    wide.paste(200, (8, 0, 16, 8))
    dataset = load_images(put(wide, tmp_path / "a.png"), image_size=8)
    assert dataset.shape == (1, 8, 8)
    assert set(dataset.images.flatten().tolist()) == {200}


def test_image_size_brings_all_images_to_one_size(tmp_path):
    for i, size in enumerate([(4, 4), (9, 5), (20, 30)]):
        put(picture("L", size, 50), tmp_path / f"{i}.png")
    dataset = load_images(tmp_path, image_size=6)
    assert dataset.images.shape == (3, 1, 6, 6)
    assert set(dataset.images.flatten().tolist()) == {50}


@pytest.mark.parametrize("litter", [".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", ".cache/b.png"])
def test_what_systems_leave_in_folders_is_ignored(tmp_path, litter):
    put(picture(), tmp_path / "a.png")
    (tmp_path / litter).parent.mkdir(exist_ok=True)
    (tmp_path / litter).write_text("not an image", encoding="utf-8")
    assert len(load_images(tmp_path)) == 1


def test_images_in_a_hidden_parent_folder_are_found(tmp_path):
    assert len(load_images(put(picture(), tmp_path / ".hidden" / "a.png"))) == 1


# Errors


def test_empty_folder_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="holds no images") as error:
        load_images(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", ["notes.txt", "README.md", "LICENSE", "labels.csv", "deeper/archive.zip"])
def test_what_is_no_image_is_left_out_and_named(tmp_path, caplog, name):
    put(picture(color=9), tmp_path / "a.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("hello", encoding="utf-8")
    assert load_images(tmp_path).images[:, 0, 0, 0].tolist() == [9]
    assert name in caplog.text


def test_many_files_that_are_left_out_are_counted(tmp_path, caplog):
    put(picture(), tmp_path / "a.png")
    for i in range(8):
        (tmp_path / f"{i}.txt").touch()
    load_images(tmp_path)
    assert "0.txt, 1.txt, 2.txt and 5 more" in caplog.text


def test_linked_folders_pipes_and_dead_links_are_left_out_and_named(tmp_path, caplog):
    put(picture(), tmp_path / "images" / "a.png")
    put(picture(), tmp_path / "elsewhere" / "b.png")
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "dead.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "images" / "pipe.png")
    assert len(load_images(tmp_path / "images")) == 1
    assert "dead.png, linked, pipe.png" in caplog.text


def test_a_folder_that_the_system_does_not_open_is_left_out_and_named(tmp_path, caplog, monkeypatch):
    put(picture(), tmp_path / "a.png")
    put(picture(), tmp_path / "locked" / "b.png")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert len(load_images(tmp_path)) == 1
    assert "locked" in caplog.text


def test_a_folder_without_permission_is_a_data_error(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        load_images(tmp_path)


def test_a_folder_of_plain_images_is_loaded_without_a_word(tmp_path, caplog):
    put(picture(), tmp_path / "train" / "x" / "a.png")
    put(picture(), tmp_path / "test" / "x" / "b.png")
    load_images(tmp_path, "train", 2)
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.gif", "photo.webp", "photo.bmp"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
def test_truncated_image_is_named(tmp_path, name, kept):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = tmp_path / name
    put(Image.fromarray(pixels), file)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(DataError, match=r"photo\."):
        load_images(tmp_path)


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "bomb.png",
            png_header(60_000, 60_000) + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")),
        ),
        ("wrong.pgm", b"P5 8 8 70000\n" + bytes(128)),
    ],
    ids=["bomb", "wrong"],
)
def test_image_that_cannot_be_true_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        load_images(tmp_path)


def test_images_of_different_size_are_named_with_the_way_out(tmp_path):
    put(picture("L", (4, 4)), tmp_path / "a.png")
    put(picture("L", (6, 5)), tmp_path / "b.png")
    with pytest.raises(DataError, match=r"a\.png is 4 x 4 .* b\.png is 6 x 5.*image_size"):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "near"), [("mnsit", "mnist"), ("MNIST", "mnist"), ("cifar", "cifar10"), ("fashon", "fashion")]
)
def test_unknown_name_is_answered_with_near_ones(wrong, near):
    with pytest.raises(ValueError, match=f"{wrong}.*did you mean '{near}'") as error:
        load_images(wrong)
    assert all(name in str(error.value) for name in DATASETS)


def test_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match="no data set or folder") as error:
        load_images(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(error.value)


@pytest.mark.parametrize("split", ["valid", "", "Train", None])
def test_unknown_split_is_refused(split):
    with pytest.raises(ValueError, match="split must be 'train' or 'test'"):
        load_images("digits", split)


@pytest.mark.parametrize("name", ["~nobody-here/images", "x" * 5000, "nul\0byte", 7, None, ["mnist"]])
def test_a_name_that_cannot_be_a_folder_is_unknown(name):
    with pytest.raises(ValueError, match="no data set or folder called"):
        load_images(name)


@pytest.mark.parametrize("size", [0, -8, 10**6, 8.0, "8", True])
def test_image_size_must_be_a_number_of_pixels_that_memory_can_hold(size):
    with pytest.raises(ValueError, match=f"image_size must be a whole number of pixels in 1 .. 4096; got {size!r}"):
        load_images("digits", image_size=size)

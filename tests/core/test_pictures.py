"""Pictures show what they were given: in order, in whole pixels, in true colours."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from ddpm_lesson.data import to_bytes
from ddpm_lesson.pictures import grid_image, loss_curve, running_average, save_gif


def flat_images(*colours: tuple[int, ...], side: int = 3) -> Tensor:
    """A batch of images of one colour each, given in bytes."""
    values = torch.tensor(colours, dtype=torch.float32) / 127.5 - 1
    return values[:, :, None, None].expand(-1, -1, side, side)


def tiles(picture: Image.Image, n_rows: int, n_columns: int, side: int = 3) -> list[list[list[int]]]:
    """Colour at the middle of every tile, row by row."""
    scale = picture.width // (n_columns * (side + 1) + 1)
    pixels = np.array(picture)
    middles = [scale * (i * (side + 1) + 1 + side // 2) + scale // 2 for i in range(max(n_rows, n_columns))]
    return [[pixels[y, x].tolist() for x in middles[:n_columns]] for y in middles[:n_rows]]


def test_grid_shows_images_in_reading_order():
    picture = grid_image(flat_images((0,), (50,), (100,), (150,), (200,), (250,)), n_columns=3)
    assert tiles(picture, 2, 3) == [[[v] * 3 for v in row] for row in ([0, 50, 100], [150, 200, 250])]


def test_grid_keeps_colours():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (12, 34, 56)]
    assert tiles(grid_image(flat_images(*colours)), 2, 2) == [
        [[255, 0, 0], [0, 255, 0]],
        [[0, 0, 255], [12, 34, 56]],
    ]


def test_grid_clips_what_lies_outside_the_range():
    picture = grid_image(torch.stack((torch.full((1, 3, 3), -9.0), torch.full((1, 3, 3), 9.0))), n_columns=2)
    assert tiles(picture, 1, 2) == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize(("count", "columns"), [(2, 2), (4, 2), (5, 3), (9, 3), (64, 8)])
def test_grid_is_square_unless_told_otherwise(count, columns):
    picture = grid_image(torch.zeros(count, 1, 8, 8), min_side=1)
    assert picture.width == columns * 9 + 1


def test_last_row_of_a_grid_may_be_short():
    picture = grid_image(flat_images((0,), (100,), (200,)), n_columns=2)
    assert tiles(picture, 2, 2)[1][0] == [200] * 3


def test_single_image_is_a_grid():
    picture = grid_image(flat_images((10, 20, 30), side=8))
    assert picture.mode == "RGB"
    assert np.array(picture)[240, 240].tolist() == [10, 20, 30]


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_is_enlarged_by_whole_pixels(channels):
    noise = torch.rand(4, channels, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    small, large = (np.array(grid_image(noise, min_side=side)) for side in (1, 480))
    scale = large.shape[0] // small.shape[0]
    assert scale > 1
    assert np.array_equal(large, small.repeat(scale, 0).repeat(scale, 1))


@pytest.mark.parametrize(("count", "side"), [(1, 8), (9, 32), (64, 32), (100, 28), (4, 8), (4, 200), (9, 128)])
def test_grid_is_at_least_min_side_wide(count, side):
    """The last three, though that means rounding up."""
    assert grid_image(torch.zeros(count, 1, side, side), min_side=480).width >= 480


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 5), (5, 3), (6, 3), (7, 1), (9, 4)])
def test_grid_is_that_of_torchvision(count, columns, channels):
    images = torch.rand(count, channels, 4, 6) * 2 - 1
    theirs = make_grid(to_bytes(images), nrow=columns, padding=1, pad_value=128).permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(grid_image(images, columns, min_side=1)), theirs)


def test_grid_takes_samples_that_carry_a_graph():
    images = torch.zeros(2, 1, 8, 8, requires_grad=True)
    grid_image(images)
    assert images.requires_grad


# Animations


def frames_of(path) -> list[tuple[Image.Image, int]]:
    """Every frame of an animation in RGB, with its milliseconds."""
    with Image.open(path) as gif:
        frames = []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append((gif.convert("RGB"), gif.info["duration"]))
        return frames


def shades(*values: int) -> list[Image.Image]:
    return [Image.new("RGB", (16, 12), (v, v, v)) for v in values]


def test_gif_holds_every_frame_and_rests_on_the_last(tmp_path):
    save_gif(shades(0, 60, 120, 255), tmp_path / "a.gif", frame_ms=50, hold_ms=1000)
    frames = frames_of(tmp_path / "a.gif")
    assert [frame.getpixel((8, 6))[0] for frame, _ in frames] == [0, 60, 120, 255]
    assert [duration for _, duration in frames] == [50, 50, 50, 1000]
    assert {frame.size for frame, _ in frames} == {(16, 12)}


def test_gif_loops_for_ever(tmp_path):
    save_gif(shades(0, 255), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.info["loop"] == 0


def test_gif_takes_a_generator_of_frames(tmp_path):
    save_gif((frame for frame in shades(1, 200)), str(tmp_path / "a.gif"))
    assert len(frames_of(tmp_path / "a.gif")) == 2


def test_gif_of_equal_frames_lasts_as_long(tmp_path):
    save_gif(shades(0, 90, 90, 90, 200), tmp_path / "a.gif", frame_ms=50, hold_ms=1000)
    assert sum(duration for _, duration in frames_of(tmp_path / "a.gif")) == 4 * 50 + 1000


def test_gif_of_one_frame_is_a_picture(tmp_path):
    save_gif(shades(77), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.convert("RGB").getpixel((0, 0)) == (77, 77, 77)


def test_gif_of_grids_shows_the_grids(tmp_path):
    grids = [grid_image(flat_images((v,), (255 - v,)), n_columns=2) for v in (0, 128, 255)]
    save_gif(grids, tmp_path / "a.gif")
    for grid, (frame, _) in zip(grids, frames_of(tmp_path / "a.gif"), strict=True):
        assert np.array_equal(np.array(frame), np.array(grid))


def test_gif_of_no_frames_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="frame"):
        save_gif([], tmp_path / "a.gif")


# The loss curve


@pytest.mark.parametrize("count", [1, 2, 500])
def test_loss_curve_is_a_picture_in_two_colours(count):
    picture = Image.open(io.BytesIO(loss_curve(range(count), [1 / (i + 1) for i in range(count)])))
    assert picture.size == (1050, 600)
    assert {(0, 114, 178), (213, 94, 0)} & {color for _, color in picture.convert("RGB").getcolors(2**20)}


def test_loss_curve_draws_the_points_and_their_average(monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **_: drawn.append(figure))
    loss_curve([10, 20, 30], [1.0, 0.5, 0.25], smoothing=0.5)
    axes = drawn[0].axes[0]
    raw, smooth = axes.lines
    assert raw.get_xdata().tolist() == smooth.get_xdata().tolist() == [10, 20, 30]
    assert raw.get_ydata().tolist() == [1.0, 0.5, 0.25]
    assert smooth.get_ydata().tolist() == pytest.approx([1.0, 2 / 3, 3 / 7])
    assert "step" in axes.get_xlabel()
    assert "loss" in axes.get_ylabel()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["loss", "running average"]


def test_running_average_of_a_constant_is_that_constant():
    assert running_average([0.7] * 20, 0.9) == pytest.approx([0.7] * 20)


def test_running_average_is_a_weighted_mean_of_the_past():
    values = [3.0, -1.0, 4.0, 1.5]
    weights = [0.9**3, 0.9**2, 0.9, 1.0]
    assert running_average(values, 0.9)[-1] == pytest.approx(np.average(values, weights=weights))


def test_running_average_without_smoothing_is_the_curve_itself():
    assert running_average([3.0, 1.0, 2.0], 0.0) == [3.0, 1.0, 2.0]

"""Static pictures of notebook 12: the words beside them are true, and what matters is drawn."""

import pytest
import torch

from ddpm_lesson.lesson.ch12_evaluation.plots import (
    DistanceCurve,
    balance_picture,
    couplings_picture,
    floors_picture,
    neighbours_picture,
    samplers_picture,
    sets_picture,
)
from tests.lesson.shown import drawn


def random_images(n, seed=0):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_couplings_tell_the_cost_of_every_plan():
    x, y = torch.randn(2, 12, 2, generator=torch.Generator().manual_seed(0))
    shown = couplings_picture(x, {"near": (y, 1.234), "far": (y.flip(0), 5.678)})
    assert "near: 1.23; far: 5.68" in shown.alt
    assert drawn(shown).tobytes() != drawn(couplings_picture(x, {"near": (y, 1.234), "far": (y, 5.678)})).tobytes()


def test_a_set_more_is_a_row_more():
    sets = {"one": random_images(12), "two": random_images(12, 1)}
    shown = sets_picture(sets)
    assert "one, two" in shown.alt
    assert drawn(shown).height > 1.5 * drawn(sets_picture({"one": sets["one"]})).height
    assert drawn(shown).tobytes() != drawn(sets_picture({"one": sets["two"], "two": sets["two"]})).tobytes()


def grey_area(image):
    """Pixels in the colour of the band where no bar lies under it."""
    return sum(n for n, colour in image.getcolors(maxcolors=1 << 24) if colour == (217, 217, 217))


def test_balance_tells_all_counts_and_its_band_shrinks_with_the_number_of_images():
    few, many = [20] * 9 + [11], [2000] * 9 + [1100]
    shown = balance_picture({"few": few, "many": many})
    assert f"few: {' '.join(map(str, few))}; many: {' '.join(map(str, many))}" in shown.alt
    areas = [grey_area(drawn(balance_picture({"x": counts}))) for counts in (few, many)]
    assert areas[0] > 5 * areas[1] > 0


def test_neighbours_tell_both_medians():
    samples, unseen = torch.tensor([0.3, 0.4, 0.5]), torch.tensor([0.1, 0.2, 0.6])
    shown = neighbours_picture(random_images(3), random_images(3, 1), samples, unseen)
    assert "median distance of all samples 0.40, of unseen real images 0.20" in shown.alt
    drawn(shown)


def test_samplers_tell_distance_share_and_what_they_are_of():
    rows = [("10 steps", 43.2, 4.5, 0.6), ("50 steps", 31.8, 4.5, 0.75)]
    shown = samplers_picture(rows, 0.95, "digits, N = 300")
    assert "digits, N = 300. 10 steps: 43.2, 60%; 50 steps: 31.8, 75%; real: 95%" in shown.alt
    other_title = samplers_picture(rows, 0.95, "mnist, N = 10,000")
    assert drawn(shown).tobytes() != drawn(other_title).tobytes()


@pytest.mark.parametrize("n_panes", [1, 2])
def test_floors_tell_every_point(n_panes):
    curves = [DistanceCurve("floor", (100, 1000), (9.0, 1.5)), DistanceCurve("model", (1000,), (33.0,))]
    shown = floors_picture({f"pane {i}": curves for i in range(n_panes)}, "pixels")
    for i in range(n_panes):
        assert f"pane {i}, floor: 9 at 100, 1.5 at 1,000; pane {i}, model: 33 at 1,000" in shown.alt
    drawn(shown)

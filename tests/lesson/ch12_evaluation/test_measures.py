"""Measures of two sets of features: each against its definition, or against a law for which it is known."""

import math

import pytest
import torch

from ddpm_lesson.evaluate import distance_of_features, gaussian_frechet
from ddpm_lesson.lesson.ch12_evaluation import measures


def cloud(n, seed, shift=0.0, dims=3):
    return shift + torch.randn(n, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_kernel_distance_of_whole_sets_is_the_unbiased_sum_over_pairs():
    x, y = cloud(12, 0), cloud(12, 1, 0.5)

    def kernel(a, b):
        return (sum(p * q for p, q in zip(a.tolist(), b.tolist(), strict=True)) / 3 + 1) ** 3

    def within(rows):
        return sum(kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j) / (12 * 11)

    right = within(x) + within(y) - 2 * sum(kernel(a, b) for a in x for b in y) / 144
    found = measures.kernel_distance(x, y, subset_size=12)
    assert found.mean == pytest.approx(right, rel=1e-9)
    assert found.std == pytest.approx(0, abs=1e-6)  # every subset is the whole


def test_kernel_distance_of_one_source_lies_on_either_side_of_zero():
    found = [measures.kernel_distance(cloud(60, i), cloud(60, 100 + i), subset_size=60).mean for i in range(40)]
    assert 8 <= sum(kid < 0 for kid in found) <= 32  # of 40 even coins, 3.8 standard deviations
    assert measures.kernel_distance(cloud(60, 0), cloud(60, 1, 2.0), subset_size=60).mean > max(found)


def test_kernel_distance_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    measures.kernel_distance(cloud(20, 0), cloud(20, 1), subset_size=10)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_distance_at_infinity_is_nearer_to_the_truth_than_that_of_all_samples():
    mean, cov = torch.zeros(3).double(), torch.eye(3).double()
    truth = float(gaussian_frechet(mean, cov, mean + 0.5, cov))
    real, errors = cloud(20_000, 0), []
    for seed in range(20):
        samples = cloud(60, 100 + seed, 0.5)
        ends = measures.frechet_at_infinity(real, samples), distance_of_features(real, samples)
        errors.append([end - truth for end in ends])
    extrapolated, plain = (sum(column) / 20 for column in zip(*errors, strict=True))
    spread = math.sqrt(sum((row[0] - extrapolated) ** 2 for row in errors) / 19 / 20)
    assert abs(extrapolated) < 4 * spread
    assert plain > 0.1  # (12.6) expects 6 / 60


def test_precision_recall_and_coverage_by_hand_on_a_line():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0]])  # to the nearest: 1, 1, 1, 1, 1
    samples = torch.tensor([[0.5], [5.0], [5.5], [1.75]])  # to the nearest: 1.25, 0.5, 0.5, 1.25
    found = measures.precision_recall(real, samples, k=1)
    assert found.precision == 0.5  # the first and the last
    assert found.recall == 0.6  # 0, 1 and 2
    assert measures.coverage(real, samples, k=1) == 0.6  # the same
    assert measures.coverage(real, torch.tensor([[5.0], [8.75], [30.0]]), k=1) == 0  # nobody within 1 of a real one


def test_a_set_lies_among_itself_and_copies_collapse_recall_but_not_coverage():
    real = cloud(200, 0)
    assert measures.precision_recall(real, real) == (1, 1)
    assert measures.coverage(real, real) == 1
    few = measures.precision_recall(real, real[:5].repeat(40, 1))
    assert few.precision == 1
    assert few.recall == pytest.approx(5 / 200)
    assert measures.coverage(real, real[:5].repeat(40, 1)) == measures.coverage(real, real[:5]) > 5 / 200


def test_outliers_widen_recall_but_not_coverage():
    real, samples = cloud(200, 0), cloud(100, 1) * 0.01
    far = torch.cat((samples, cloud(10, 2) * 100))
    assert measures.precision_recall(real, samples).recall < 0.1
    assert measures.precision_recall(real, far).recall > 0.9
    assert measures.coverage(real, far) == measures.coverage(real, samples)


def test_rows_of_a_table():
    real = cloud(150, 0)
    (row,) = measures.measures_of(real, {"shifted": cloud(120, 1, 3.0)})
    assert row[0] == "shifted"
    assert float(row[1]) == pytest.approx(27, rel=0.2)
    assert row[3].count("±") == 1
    assert len(row) == 7


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="subset_size must be at most 20; got 30"):
        measures.kernel_distance(cloud(20, 0), cloud(40, 1), subset_size=30)
    with pytest.raises(ValueError, match="k must be below the number of rows, 3; got 3"):
        measures.precision_recall(cloud(9, 0), cloud(3, 1))
    with pytest.raises(ValueError, match="k must be below the number of rows, 3; got 3"):
        measures.coverage(cloud(3, 0), cloud(9, 1))
    with pytest.raises(ValueError, match="must hold more than 3 images"):
        measures.frechet_at_infinity(cloud(40, 0), cloud(9, 1))

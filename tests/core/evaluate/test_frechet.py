"""Frechet distances, held against scipy, closed forms and torchmetrics."""

import math
import sys
from statistics import mean

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from ddpm_lesson import load_images
from ddpm_lesson.evaluate import (
    EvaluationError,
    Extractor,
    distance_of_features,
    expected_floor,
    extractor,
    features_of,
    frechet_distance,
    frechet_map,
    gaussian_frechet,
    load_classifier,
    moments,
    random_subset,
)
from ddpm_lesson.evaluate.frechet import floor_of_as_many

pytestmark = pytest.mark.usefixtures("one_thread")


def oracle(a, b):
    """The formula of Heusel et al. 2017, as numpy and scipy say it."""
    cov1, cov2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov1 + cov2 - 2 * root))


def by_singular_values(a, b):
    """The same for covariances without an inverse: the trace of the root is a sum of singular values."""
    centred = [(x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b)]
    spread = sum((x**2).sum() for x in centred) - 2 * np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + spread)


def correlated(n, seed, size=6):
    """Features of a Gaussian with correlations, (n, size)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, size)) @ rng.normal(size=(size, size)) + rng.normal(size=size)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distance_of_features_is_the_formula_of_scipy(seed):
    a, b = correlated(200, seed), correlated(150, seed + 10)
    assert distance_of_features(torch.tensor(a), torch.tensor(b)) == pytest.approx(oracle(a, b), rel=1e-8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gaussian_frechet_is_the_formula_of_scipy(seed):
    a, b = correlated(200, seed), correlated(150, seed + 10)
    moments = [torch.tensor(m) for x in (a, b) for m in (x.mean(0), np.cov(x, rowvar=False))]
    assert float(gaussian_frechet(*moments)) == pytest.approx(oracle(a, b), rel=1e-8)


def test_in_one_dimension_it_is_two_squared_differences():
    mean, std = torch.tensor([[0.3], [-1.0]]).double(), torch.tensor([2.0, 0.5]).double()
    value = gaussian_frechet(mean[0], std[:1, None] ** 2, mean[1], std[1:, None] ** 2)
    assert float(value) == pytest.approx(1.3**2 + 1.5**2)


def test_a_shift_of_all_images_costs_its_square():
    features = torch.from_numpy(correlated(500, 0))
    assert distance_of_features(features, features + 0.5) == pytest.approx(6 * 0.25, abs=1e-6)


def test_a_set_is_no_distance_from_itself():
    features = torch.from_numpy(correlated(500, 0))
    assert distance_of_features(features, features) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_is_that_of_the_features_of_bytes(digits):
    train, test = digits
    result = frechet_distance("pixels", train, test[:200], test[97:])  # as many held-out images as generated ones
    flat = [x.flatten(1).double().numpy() for x in (train, test[:200], test[97:])]
    assert result.value == pytest.approx(by_singular_values(flat[0], flat[1]), rel=1e-5)
    assert result.floor == pytest.approx(by_singular_values(flat[0], flat[2]), rel=1e-5)
    assert (result.n_real, result.n_generated, result.n_floor, result.n_features) == (1500, 200, 200, 64)


def test_a_floor_of_few_images_is_brought_to_as_many_as_were_generated(digits):
    randn = torch.Generator().manual_seed(0)
    scales = torch.tensor([3.0, 1.0, 1.0, 0.2])
    real, *draws = (moments(torch.randn(n, 4, generator=randn) * scales) for n in [5000, *[50] * 200, *[200] * 200])
    few, many = (mean(float(gaussian_frechet(*real, *other)) for other in part) for part in (draws[:200], draws[200:]))
    brought = floor_of_as_many(few, real.cov, 5000, 200, 50)
    assert brought == pytest.approx(many, abs=0.15 * (few - many))

    train, test = digits
    result, as_it_is = (frechet_distance("pixels", train, test[97 : 97 + n], test[:97]) for n in (200, 97))
    assert (result.n_generated, result.n_floor) == (200, 97)
    assert 0 < result.floor < as_it_is.floor


def test_the_floor_is_of_images_drawn_at_random_for_data_may_be_sorted(digits):
    train, test = digits
    sorted_by_class = train[load_images("digits").labels.argsort()]
    floor = frechet_distance("classifier", train, test[:150], sorted_by_class).floor
    first_150 = frechet_distance("classifier", train, sorted_by_class[:150], sorted_by_class[:150]).value
    assert floor < 0.1 * first_150
    assert floor != frechet_distance("classifier", train, test[:150], sorted_by_class, seed=1).floor


def test_a_random_subset_holds_no_image_twice():
    images = torch.arange(50.0).view(50, 1, 1, 1)
    few = random_subset(images, 20)
    assert len(few.unique()) == 20
    assert torch.equal(few, random_subset(images, 20))
    assert not torch.equal(few, random_subset(images, 20, seed=1))
    assert torch.equal(random_subset(images, 60), images)


def test_without_held_out_images_some_of_the_real_ones_are_set_aside(digits):
    train, test = digits
    result = frechet_distance("pixels", train, test)
    assert (result.n_real, result.n_floor) == (1500 - 297, 297)
    again = frechet_distance("pixels", train, test)
    assert result == again != frechet_distance("pixels", train, test, seed=1)


@pytest.mark.parametrize("features", ["pixels", "random", "classifier"])
def test_noise_moves_images_away_from_the_floor(digits, features):
    train, test = digits
    noisy = (test + 0.5 * torch.randn(test.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    result = frechet_distance(features, train, noisy, test)
    assert result.value > 1.5 * result.floor
    assert frechet_distance(features, train, test, test).value == pytest.approx(result.floor)


def test_few_images_raise_the_floor(digits):
    train, _ = digits
    small, large = (frechet_distance("pixels", train[:700], train[800 : 800 + n]).floor for n in (70, 600))
    assert small > 2 * large


def test_a_frechet_distance_is_a_table_with_its_floor_and_numbers(digits):
    train, test = digits
    result = frechet_distance("pixels", train, test)
    header, _, row = result._repr_markdown_().splitlines()
    assert "floor" in header
    assert row == f"| pixels, 64 | {result.value:.4g} | {result.floor:.4g} | 297 | 1,203 | 297 |"


def test_an_extractor_of_ones_own_is_welcome(digits):
    train, test = digits
    means = Extractor("row means", 8, lambda x: x.mean(-1).flatten(1))
    a, b = (x.mean(-1).flatten(1).double().numpy() for x in (train, test))
    assert frechet_distance(means, train, test, test).value == pytest.approx(oracle(a, b), rel=1e-4)


def test_random_network_is_always_the_same(digits):
    first, second = (features_of(extractor("random", (1, 8, 8)), digits[1]) for _ in range(2))
    assert torch.equal(first, second)


def test_features_of_the_classifier_are_those_before_its_last_layer(digits):
    network = load_classifier("digits", "cpu")
    features = features_of(extractor("classifier", (1, 8, 8)), digits[1])
    assert features.shape == (297, 32)
    torch.testing.assert_close(network.head(features), network(digits[1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a, b: (a, b[:64]), "generated must hold more than 64 images.*got 64"),
        (lambda a, b: (a[:30], b), "generated|held_out|real must hold more than 64 images"),
        (lambda a, b: (a, b[:, 0]), r"generated must hold images \(N, C, H, W\); got shape \(297, 8, 8\)"),
        (lambda a, b: (a, b[:, :, :4]), r"generated must hold images of shape \(1, 8, 8\).*got \(1, 4, 8\)"),
        (lambda a, b: (a, 127.5 * (b + 1)), r"generated must hold floating-point values in \[-1, 1\].*255"),
        (lambda a, b: (a, (b > 0).to(torch.uint8)), r"generated must hold floating-point values in \[-1, 1\].*uint8"),
        (lambda a, b: (a, (b + 1) / 2), r"generated must have the range of the others.*looks like \[0, 1\]"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(digits, change, words):
    with pytest.raises(ValueError, match=words):
        frechet_distance("pixels", *change(*digits))


def test_unknown_features_are_refused():
    with pytest.raises(ValueError, match=r"features must be one of .*pixels.*got 'pixel' \(did you mean 'pixels'"):
        extractor("pixel", (1, 8, 8))
    with pytest.raises(EvaluationError, match=r"no classifier is shipped for images of shape \(3, 16, 16\)"):
        extractor("classifier", (3, 16, 16))


def test_inception_without_torch_fidelity_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match=r'^this needs torch_fidelity: pip install "ddpm-lesson\[inception\]"$'):
        extractor("inception", (1, 8, 8))


def test_inception_gets_bytes_in_three_channels(monkeypatch):
    class Fake(nn.Module):
        """Stands in for the metric; its network repeats what it is given."""

        def __init__(self, feature):
            super().__init__()
            self.inception = lambda images: images.flatten(1).double().repeat(1, feature // 192)[:, :feature]

    monkeypatch.setattr("ddpm_lesson.evaluate.frechet.needs", lambda *modules, extra: None)  # as if they were here
    monkeypatch.setattr("torchmetrics.image.fid.FrechetInceptionDistance", Fake)
    inception = extractor("inception", (1, 8, 8))
    images = load_images("digits", "test")
    features = features_of(inception, images[:5])
    assert inception.num_features == 2048
    grey = images.images[:5].flatten(1).repeat(1, 3)
    assert torch.equal(features[:, :192], grey.double())


def test_inception_offline_says_what_works(monkeypatch):
    def no_network(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("ddpm_lesson.evaluate.frechet.needs", lambda *modules, extra: None)  # as if they were here
    monkeypatch.setattr("torchmetrics.image.fid.FrechetInceptionDistance.__init__", no_network)
    with pytest.raises(EvaluationError, match=r"could not fetch .*no route to host.*'classifier'"):
        extractor("inception", (3, 32, 32))


@pytest.mark.parametrize("variances", [(1.0,) * 5, (30.0, 10.0, 2.0, 0.0)])
def test_expected_floor_is_the_mean_distance_of_equal_gaussians(variances):
    """To five standard errors, and the 1 / n that first order leaves out."""
    scale = torch.tensor(variances, dtype=torch.float64).sqrt()
    turn = torch.linalg.qr(torch.randn(len(scale), len(scale), dtype=torch.float64)).Q
    sets = ([torch.randn(n, len(scale), dtype=torch.float64) * scale @ turn for n in (200, 400)] for _ in range(1500))
    distances = torch.stack([gaussian_frechet(*moments(a), *moments(b)) for a, b in sets])
    mean, error = float(distances.mean()), float(distances.std()) / 1500**0.5
    floor = float(expected_floor(turn.T @ torch.diag(scale**2) @ turn, 200, 400))
    assert abs(floor - mean) < 5 * error + floor / 200


@pytest.mark.parametrize("variance", [0.04, 3.0])
def test_expected_floor_of_one_feature_is_that_of_means_and_standard_deviations(variance):
    """E (m1 - m2)^2 + E (s1 - s2)^2 with E s = c4 sigma, exactly; first order leaves out a part in n."""

    def c4(n):
        return math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))

    n, m = 2000, 5000
    exact = variance * (1 / n + 1 / m + 2 - 2 * c4(n) * c4(m))
    cov = torch.tensor([[variance]], dtype=torch.float64)
    assert float(expected_floor(cov, n, m)) == pytest.approx(exact, rel=2 / n)


def test_expected_floor_of_whitened_features_grows_with_their_square():
    floor = expected_floor(torch.eye(2048, dtype=torch.float64), 50_000, 10_000)
    assert float(floor) == pytest.approx(2048 * 2053 / 4 * (1 / 50_000 + 1 / 10_000))


def test_frechet_map_carries_one_gaussian_into_another_at_that_cost():
    (mean1, cov1), (mean2, cov2) = (moments(torch.from_numpy(correlated(200, seed))) for seed in (0, 1))
    x = mean1 + torch.randn(200, 6, dtype=torch.float64) @ torch.linalg.cholesky(cov1).T
    exact = moments(x)
    y = frechet_map(x, *exact, mean2, cov2)
    torch.testing.assert_close(moments(y).mean, mean2)
    torch.testing.assert_close(moments(y).cov, cov2)
    cost = ((x - exact.mean - y + mean2) ** 2).sum() / 199 + ((exact.mean - mean2) ** 2).sum()
    torch.testing.assert_close(cost, gaussian_frechet(*exact, mean2, cov2))

"""Measures of a model, held against scipy, brute force, closed forms and the full bound."""

import json

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.stats
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule, checkpoint, load_images
from ddpm_lesson.bound import variational_bound
from ddpm_lesson.cli import main
from ddpm_lesson.data import ImageDataset
from ddpm_lesson.evaluate import (
    Classifier,
    EvaluationError,
    Extractor,
    Judgement,
    accuracy,
    bits_per_dim,
    closeness,
    degraded,
    diagnose,
    distance_of_features,
    draw_samples,
    evaluate,
    expected_floor,
    extractor,
    features_of,
    frechet_distance,
    frechet_map,
    gaussian_frechet,
    gaussian_twin,
    judge,
    load_classifier,
    moments,
    nearest_neighbours,
    random_subset,
    rate_distortion,
    save_classifier,
    train_classifier,
)
from ddpm_lesson.evaluate.bits import spread_times, time_probabilities
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.unet import UNet
from tests.benchmarks.evaluation import floor_curve, parse_samplers, read, rounded, write

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    """Training and test images of scikit-learn's digits."""
    return load_images("digits")[:], load_images("digits", "test")[:]


@pytest.fixture(scope="module")
def model():
    """A tiny network that has learned nothing, and whose bound is all the larger."""
    torch.manual_seed(0)
    network = UNet(image_channels=1, n_channels=8, ch_mults=(1, 2), is_attn=(False, False), n_blocks=1, n_groups=4)
    return DenoiseDiffusion(network, schedule=NoiseSchedule.linear(60, 1e-3, 0.2))


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


# Frechet distance


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
    with pytest.raises(EvaluationError, match=r"no classifier is shipped for images of shape \(3, 32, 32\)"):
        extractor("classifier", (3, 32, 32))


def test_inception_without_torch_fidelity_says_what_to_install(monkeypatch):
    monkeypatch.setattr("torchmetrics.image.fid._TORCH_FIDELITY_AVAILABLE", False)
    with pytest.raises(EvaluationError, match="pip install torch-fidelity"):
        extractor("inception", (1, 8, 8))


def test_inception_gets_bytes_in_three_channels(monkeypatch):
    class Fake(nn.Module):
        """Stands in for the metric; its network repeats what it is given."""

        def __init__(self, feature):
            super().__init__()
            self.inception = lambda images: images.flatten(1).double().repeat(1, feature // 192)[:, :feature]

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

    monkeypatch.setattr("torchmetrics.image.fid.FrechetInceptionDistance.__init__", no_network)
    with pytest.raises(EvaluationError, match=r"could not fetch .*no route to host.*'classifier'"):
        extractor("inception", (3, 32, 32))


@pytest.mark.parametrize("variances", [(1.0,) * 5, (3.0, 1.0, 0.2, 0.0)])
def test_expected_floor_is_the_mean_distance_of_equal_gaussians(variances):
    scale = torch.tensor(variances, dtype=torch.float64).sqrt()
    sets = [[torch.randn(n, len(scale), dtype=torch.float64) * scale for n in (200, 400)] for _ in range(200)]
    distances = [gaussian_frechet(*moments(a), *moments(b)) for a, b in sets]
    mean = float(torch.stack(distances).mean())
    assert float(expected_floor(torch.diag(scale**2), 200, 400)) == pytest.approx(mean, rel=0.06)


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


# Degraded images


def test_gaussian_twin_has_mean_and_covariance_but_is_no_copy(digits):
    train, _ = digits
    twin = gaussian_twin(train, torch.Generator().manual_seed(0))
    for mine, real in zip(moments(twin.flatten(1)), moments(train.flatten(1)), strict=True):
        torch.testing.assert_close(mine, real, atol=1e-5, rtol=1e-5)
    assert closeness(twin, train, train[:300] + 1e-3).median > 0.2
    assert distance_of_features(train.flatten(1), twin.flatten(1)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("kind", ["noise", "blur", "missing classes", "few distinct"])
def test_degradation_grows_from_nothing_and_keeps_the_number_of_images(digits, kind):
    train, labels = digits[0], load_images("digits").labels
    worse = [degraded(train, labels, kind, amount, torch.Generator().manual_seed(0)) for amount in (0.0, 0.5, 1.0)]
    assert torch.equal(worse[0], train)
    assert all(images.shape == train.shape for images in worse)
    assert all(float(images.abs().max()) <= 1 + 1e-6 for images in worse)
    some, much = (frechet_distance("classifier", train, images, train).value for images in worse[1:])
    assert 1 < some < much


def test_blur_is_that_of_scipy(digits):
    images = digits[1][:5]
    blurred = degraded(images, torch.zeros(5), "blur", 0.5)
    expected = scipy.ndimage.gaussian_filter1d(images.numpy(), 1.0, axis=-1, mode="nearest", radius=3)
    expected = scipy.ndimage.gaussian_filter1d(expected, 1.0, axis=-2, mode="nearest", radius=3)
    np.testing.assert_allclose(blurred, expected, atol=1e-5)


def test_missing_classes_and_few_images_are_what_they_say(digits):
    train, labels = digits[0], load_images("digits").labels
    one = degraded(train, labels, "missing classes", 1)
    assert judge(load_classifier("digits", "cpu"), one).counts[0] > 1480
    assert len(degraded(train, labels, "few distinct", 2 / 3).unique(dim=0)) == 15


def test_degradations_that_make_no_sense_are_refused(digits):
    with pytest.raises(ValueError, match=r"kind must be one of noise, blur.*got 'rust'"):
        degraded(*digits, "rust", 0.5)
    with pytest.raises(ValueError, match=r"amount must lie in \[0, 1\]; got 2"):
        degraded(*digits, "noise", 2)


# Bits per dimension


def test_full_bound_over_a_set_is_the_mean_of_its_images(model, digits):
    images = digits[1][:6]
    result = bits_per_dim(model, images, generator=torch.Generator().manual_seed(1))
    bound = variational_bound(model, images, torch.Generator().manual_seed(1))
    assert result.total == pytest.approx(float(bound.total.mean()), rel=1e-5)
    assert result.error == pytest.approx(float(bound.total.std()) / 6**0.5, rel=1e-4)
    torch.testing.assert_close(result.L_t, bound.L_t.double().mean(0))
    assert result.rate + result.distortion == pytest.approx(result.total)
    assert (result.n_images, result.n_times) == (6, 59)


@pytest.mark.parametrize("n_times", [1, 4, 20])
def test_estimate_is_the_full_bound_within_its_standard_error(model, digits, n_times):
    images = digits[1]
    full = bits_per_dim(model, images, generator=torch.Generator().manual_seed(0))
    few = bits_per_dim(model, images, n_times, torch.Generator().manual_seed(1))
    assert abs(few.total - full.total) < 3.5 * few.error
    assert abs(few.rate - full.rate) < 3.5 * few.error
    assert few.error < 0.1 * few.total
    assert few.L_t is None
    assert (few.n_images, few.n_times) == (297, n_times)


def test_estimate_gets_better_with_more_times(model, digits):
    errors = [bits_per_dim(model, digits[1], n, torch.Generator().manual_seed(1)).error for n in (1, 20)]
    assert errors[1] < errors[0]


def test_times_come_up_as_often_as_their_probability_says():
    p = time_probabilities(50)
    assert float(p.sum()) == pytest.approx(1)
    assert float(p[0]) == 0
    assert float(p[1:].min()) > 0.5 / 50
    times = spread_times(p, 20_000, 3, torch.Generator().manual_seed(0))
    counts = torch.bincount(times.flatten(), minlength=50) / times.numel()
    error = (p * (1 - p) / times.numel()).sqrt()
    assert ((counts - p).abs() <= 4 * error).all()


def test_rate_adds_up_and_the_guess_gets_better(model, digits):
    images = digits[1][:8]
    curve = rate_distortion(model, images, torch.Generator().manual_seed(0))
    bound = variational_bound(model, images, torch.Generator().manual_seed(0))
    torch.testing.assert_close(curve.bits, bound.L_t.double().mean(0), rtol=1e-5, atol=1e-6)
    rate = float((bound.total - bound.L_0).mean())
    assert float(curve.rate[0]) == pytest.approx(rate, rel=1e-4)
    assert float(curve.rate[-1]) == pytest.approx(float(bound.L_T.mean()), abs=1e-5)
    assert (curve.rate.diff() <= 0).all()


def test_error_of_a_model_that_answers_grey_is_that_of_grey(digits):
    class Grey(nn.Module):
        def forward(self, xt, t):  # the noise of someone who believes that x0 is 0
            return xt / (1 - schedule.alpha_bar[t].view(-1, 1, 1, 1)).sqrt()

    schedule = NoiseSchedule.linear(10, 0.01, 0.5)
    curve = rate_distortion(DenoiseDiffusion(Grey(), schedule=schedule), digits[1])
    expected = 127.5 * digits[1].square().mean().sqrt().double()
    torch.testing.assert_close(curve.rmse, expected.expand(10), rtol=1e-4, atol=0)


def test_bits_of_one_image_or_of_no_times_are_refused(model, digits):
    with pytest.raises(ValueError, match=r"images must hold at least two images.*got 1"):
        bits_per_dim(model, digits[1][:1])
    with pytest.raises(ValueError, match=r"n_times must lie in 1 .. 59.*got 60"):
        bits_per_dim(model, digits[1][:3], 60)


# Neighbours


def test_neighbours_are_those_of_brute_force(digits):
    train, test = digits
    found = nearest_neighbours(test[:40], train, batch_size=7)
    distances = np.sqrt(((test[:40, None].numpy() - train[None].numpy()) ** 2).mean((2, 3, 4)))
    np.testing.assert_allclose(found.distance, distances.min(1), rtol=1e-5)
    assert (found.index.numpy() == distances.argmin(1)).all()


def test_a_copy_is_found_at_distance_zero(digits):
    train, _ = digits
    found = nearest_neighbours(train[[7, 1203]], train)
    assert found.index.tolist() == [7, 1203]
    assert found.distance.tolist() == [0, 0]


def test_closeness_tells_copies_from_new_images(digits):
    train, test = digits
    assert closeness(train[:100], train, test).copies == 1
    assert closeness(test, train, test).copies == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(0, 1, 8, 8), "images must hold at least one image"),
        (torch.zeros(2, 1, 4, 4), r"shape of the training images, \(1, 8, 8\); got \(1, 4, 4\)"),
    ],
)
def test_neighbours_that_make_no_sense_are_refused(digits, images, words):
    with pytest.raises(ValueError, match=words):
        nearest_neighbours(images, digits[0])


# Classifier


def test_shipped_classifier_knows_digits_as_its_settings_say():
    classifier = load_classifier("digits", "cpu")
    right = accuracy(classifier, load_images("digits", "test"))
    assert right == pytest.approx(0.9731, abs=0.005)


def test_judgement_counts_and_confidence_are_those_of_the_logits(digits):
    classifier = load_classifier("digits", "cpu")
    probability = classifier(digits[1]).softmax(1).detach()
    judgement = judge(classifier, digits[1])
    assert sum(judgement.counts) == 297
    assert judgement.counts[3] == int((probability.argmax(1) == 3).sum())
    assert judgement.mean == pytest.approx(float(probability.amax(1).mean()), rel=1e-5)
    assert judgement.sure == pytest.approx(float((probability.amax(1) > 0.9).float().mean()))
    assert judgement.imbalance < 0.05
    assert f"{judgement.sure:.1%}" in judgement._repr_markdown_()


def test_chi_squared_of_counts_is_that_of_scipy():
    judgement = Judgement(0.5, 0.8, (21, 29, 16, 12, 19, 21, 13, 22, 26, 21))
    expected = scipy.stats.chisquare(judgement.counts)
    assert judgement.chi_squared == pytest.approx(expected.statistic)
    assert judgement.p_value == pytest.approx(expected.pvalue)


def test_imbalance_of_a_single_class_is_nine_tenths(digits):
    zeros = digits[0][load_images("digits").labels == 0]
    assert judge(load_classifier("digits", "cpu"), zeros).imbalance == pytest.approx(0.9, abs=0.02)


def test_a_classifier_learns_is_saved_and_read_again(tmp_path):
    dataset = load_images("digits")
    classifier = Classifier((1, 8, 8), n_channels=8, n_features=16)
    steps = list(train_classifier(classifier, dataset, epochs=6))
    assert steps[-1].step == steps[-1].total == 70
    assert accuracy(classifier, dataset) > 0.8
    save_classifier(classifier, tmp_path, data="digits")
    again = load_classifier(tmp_path, "cpu")
    x = dataset[:50]
    torch.testing.assert_close(again(x), classifier(x), atol=0.02, rtol=0.02)  # half precision
    assert json.loads((tmp_path / "settings.json").read_text())["data"] == "digits"


def black(side):
    """Four images without anything on them."""
    return torch.zeros(4, 1, side, side, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (ImageDataset(black(8)), "dataset must have labels"),
        (ImageDataset(black(8), torch.full((4,), 10)), "n_classes must be at least 11"),
        (ImageDataset(black(9), torch.zeros(4)), r"shape \(1, 8, 8\); got \(1, 9, 9\)"),
    ],
)
def test_data_that_cannot_teach_are_refused(dataset, words):
    with pytest.raises(ValueError, match=words):
        next(train_classifier(Classifier((1, 8, 8), n_channels=8, n_features=16), dataset))


def test_images_of_another_shape_are_not_judged():
    with pytest.raises(ValueError, match=r"images must hold images of shape \(1, 8, 8\); got \(1, 28, 28\)"):
        judge(load_classifier("digits", "cpu"), torch.zeros(2, 1, 28, 28))
    with pytest.raises(ValueError, match="at least one image"):
        judge(load_classifier("digits", "cpu"), torch.zeros(0, 1, 8, 8))
    with pytest.raises(ValueError, match="at least 4 x 4 pixels; got 3 x 8"):
        Classifier((1, 3, 8))


def test_classifiers_that_are_not_there_or_not_readable_are_named(tmp_path):
    with pytest.raises(EvaluationError, match=r"no classifier at 'digit' \(did you mean 'digits'\?\)"):
        load_classifier("digit")
    save_classifier(Classifier((1, 8, 8), n_channels=8, n_features=16), tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps({**settings, "format": "other"}))
    with pytest.raises(checkpoint.CheckpointError, match="its format must be"):
        load_classifier(tmp_path)
    settings["model"]["n_features"] = 17
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(checkpoint.CheckpointError, match="of another architecture"):
        load_classifier(tmp_path)


def test_shipped_classifiers_are_no_diffusion_models():
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint at 'classifier'"):
        checkpoint.load("classifier")


# All together


def test_a_diagnosis_has_a_row_for_every_set(digits):
    train, test = digits
    classifier = load_classifier("digits", "cpu")
    diagnosis = diagnose({"unseen": test, "copies": train}, train, test, "classifier", classifier)
    assert diagnosis.frechet[1].value == pytest.approx(0, abs=1e-6)
    assert diagnosis.closeness[1].copies == 1
    assert diagnosis.judgements[0] == judge(classifier, test)
    *_, unseen, copies = diagnosis._repr_markdown_().splitlines()
    distance = diagnosis.frechet[0]
    assert unseen.startswith(f"| unseen | 297 | {distance.value:.1f} | {distance.floor:.1f} |")
    assert copies.endswith("| 100% |")


def test_samples_come_in_batches_and_in_range(model):
    seen = []
    samples = draw_samples(model, (260, 1, 8, 8), 2, generator=torch.Generator().manual_seed(0), progress=seen.append)
    assert samples.shape == (260, 1, 8, 8)
    assert seen == [250, 10]
    assert float(samples.abs().max()) <= 1


def test_evaluation_gives_tables_and_a_record_for_json(model, digits):
    train, test = digits
    classifier = load_classifier("digits", "cpu")
    measured = evaluate(model, test, train, test, classifier=classifier, n_bits=10, n_times=3)
    assert measured.frechet == frechet_distance("classifier", train, test, test)
    assert measured.judgement == measured.judgement_held_out
    record = json.loads(json.dumps(measured.record()))
    assert record["frechet"]["value"] == measured.frechet.value
    assert record["bits"]["n_images"] == 10
    assert len(measured.tables()) == 4
    without = evaluate(model, test, train, test, features="pixels", n_bits=10, n_times=3)
    assert len(without.tables()) == 3
    assert "judgement" not in without.record()


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    checkpoint.save(model, folder, image_shape=(1, 8, 8), training={"data": "digits"})
    return folder


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_command_writes_what_it_prints(trained, tmp_path):
    options = ["--n=70", "--steps=2", "--bits-images=4", "--bits-times=2", "--device=cpu"]
    result = invoke("evaluate", trained, "--out", tmp_path, *options)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record["frechet"]["n_generated"] == record["n"] == 70
    assert f"{record['frechet']['value']:.4g}" in result.output
    assert (tmp_path / "grid.png").is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--n=20"], ["generated must hold more than 32 images", "got 20"]),
        (["--n=70", "--bits-times=60"], ["n_times must lie in 1 .. 59"]),
        (["--classifier=mnits"], ["no classifier at 'mnits'"]),
        (["--data=no-such-set"], ["no-such-set"]),
    ],
)
def test_command_answers_mistakes_in_a_sentence(trained, tmp_path, options, words):
    result = invoke("evaluate", trained, "--out", tmp_path, "--steps=2", "--bits-images=2", "--device=cpu", *options)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert all(word in result.output for word in words)


def test_features_that_are_missing_are_missed_before_any_sampling(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("torchmetrics.image.fid._TORCH_FIDELITY_AVAILABLE", False)
    monkeypatch.setattr("ddpm_lesson.cli.draw_samples", lambda *arguments: pytest.fail("it sampled"))
    result = invoke("evaluate", trained, "--out", tmp_path, "--features=inception", "--device=cpu")
    assert result.exit_code == 1
    assert "pip install torch-fidelity" in result.output


def test_command_trains_a_classifier(tmp_path):
    sizes = ["--n-channels=8", "--n-features=8", "--epochs=1", "--device=cpu"]
    result = invoke("train-classifier", "digits", "--out", tmp_path, *sizes)
    assert result.exit_code == 0, result.output
    assert "of 297 test images right" in result.output
    assert load_classifier(tmp_path, "cpu").num_features == 8


def test_a_folder_with_three_classes_trains_a_classifier_of_three_answers(tmp_path):
    for i in range(60):
        folder = tmp_path / "data" / "abc"[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 60 * (i % 3) + i).save(folder / f"{i}.png")
    sizes = ["--n-channels=8", "--n-features=8", "--epochs=1", "--device=cpu"]
    result = invoke("train-classifier", tmp_path / "data", "--out", tmp_path / "out", *sizes)
    assert result.exit_code == 0, result.output
    assert load_classifier(tmp_path / "out", "cpu").n_classes == 3


def test_a_folder_without_classes_trains_no_classifier(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    result = invoke("train-classifier", tmp_path, "--out", tmp_path / "out", "--device=cpu")
    assert result.exit_code == 1
    assert "dataset must have labels" in result.output


# The stored measurements and the script that makes them


@pytest.fixture(scope="module")
def stored():
    return json.loads((assets_folder() / "evaluation.json").read_text())


def test_stored_measurements_are_of_two_different_models(stored):
    assert set(stored) == {"digits", "mnist"}
    assert stored["digits"]["bits"] != stored["mnist"]["bits"]
    assert stored["digits"]["samplers"] != stored["mnist"]["samplers"]


@pytest.mark.parametrize(("name", "shape", "n_real"), [("digits", (1, 8, 8), 1500), ("mnist", (1, 28, 28), 60_000)])
def test_stored_measurements_fit_data_and_features(stored, name, shape, n_real):
    record = stored[name]
    assert record["bits"]["n_images"] == record["settings"]["bits_images"]
    assert record["settings"]["step"] == checkpoint.read_settings(checkpoint.find(name))["step"]
    assert record["bits"]["L_T"] + sum(record["bits"]["L_t"]) == pytest.approx(record["bits"]["total"], rel=1e-3)
    for row in record["samplers"]:
        assert sum(row["judgement"]["counts"]) == row["n"]
        for features, distance in zip(("classifier", "random", "pixels"), row["frechet"], strict=True):
            expected = extractor(features, shape)
            assert (distance["features"], distance["n_features"]) == (expected.name, expected.num_features)
            assert (distance["n_real"], distance["n_generated"]) == (n_real, row["n"])


def test_the_script_reads_its_samplers_and_rounds_for_a_small_file():
    assert parse_samplers("50:1:10000,20:0.5:30") == [(50, 1.0, 10_000), (20, 0.5, 30)]
    assert rounded({"a": [1.23456789, 3], "b": (0.000123456,)}) == {"a": [1.2346, 3], "b": [0.00012346]}


def test_the_script_keeps_the_other_model_in_its_file(tmp_path):
    write(tmp_path / "a.json", "digits", {"n": 1})
    write(tmp_path / "a.json", "mnist", {"n": 2})
    write(tmp_path / "a.json", "digits", {"n": 3})
    assert json.loads((tmp_path / "a.json").read_text()) == {"digits": {"n": 3}, "mnist": {"n": 2}}


def test_the_script_goes_on_only_with_what_has_the_same_settings(tmp_path):
    out, record = tmp_path / "a.json", {"settings": {"step": 1}, "samplers": [{"n": 3}]}
    assert read(out, "digits", {"step": 1}) == {"settings": {"step": 1}, "samplers": []}
    write(out, "digits", record)
    assert read(out, "digits", {"step": 1}) == record
    assert read(out, "digits", {"step": 2}) == {"settings": {"step": 2}, "samplers": []}
    assert read(out, "mnist", {"step": 1}) == {"settings": {"step": 1}, "samplers": []}


def test_the_curve_of_the_floor_ends_where_the_images_do(digits):
    train, test = digits
    curve = floor_curve(train, test, torch.device("cpu"))
    assert curve["n"] == [150, 200]
    assert curve["distance"][1] == distance_of_features(
        *(features_of(extractor("classifier", (1, 8, 8)), x) for x in (train, random_subset(test, 200)))
    )

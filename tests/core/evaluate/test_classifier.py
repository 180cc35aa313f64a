"""The classifier: its training, its files, and what it says."""

import json

import pytest
import scipy.stats
import torch

from ddpm_lesson import checkpoint, load_images
from ddpm_lesson.data import ImageDataset
from ddpm_lesson.evaluate import (
    Classifier,
    EvaluationError,
    Judgement,
    accuracy,
    judge,
    load_classifier,
    save_classifier,
    train_classifier,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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
    assert json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))["data"] == "digits"


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
    settings = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    (tmp_path / "settings.json").write_text(json.dumps({**settings, "format": "other"}), encoding="utf-8")
    with pytest.raises(checkpoint.CheckpointError, match="its format must be"):
        load_classifier(tmp_path)
    settings["model"]["n_features"] = 17
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(checkpoint.CheckpointError, match="of another architecture"):
        load_classifier(tmp_path)


def test_shipped_classifiers_are_no_diffusion_models():
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint at 'classifier'"):
        checkpoint.load("classifier")

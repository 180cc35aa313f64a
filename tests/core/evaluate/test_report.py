"""Everything at once, and the commands that do it."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from ddpm_lesson import checkpoint
from ddpm_lesson.cli import main
from ddpm_lesson.data import to_bytes
from ddpm_lesson.evaluate import (
    Classifier,
    EvaluationError,
    closeness,
    diagnose,
    draw_samples,
    evaluate,
    frechet_distance,
    in_batches,
    judge,
    load_classifier,
    save_classifier,
    unseen,
)
from ddpm_lesson.sample import ddim_steps

pytestmark = pytest.mark.usefixtures("one_thread")


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
    steps, shape = partial(ddim_steps, model, n_steps=2, eta=0.5), (260, 1, 8, 8)
    samples = in_batches(steps, shape, torch.Generator().manual_seed(0), seen.append)
    assert torch.equal(samples, draw_samples(model, shape, 2, 0.5, torch.Generator().manual_seed(0)))
    assert samples.shape == shape
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
    record = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
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
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setattr("ddpm_lesson.cli.evaluate.in_batches", lambda *arguments: pytest.fail("it sampled"))
    result = invoke("evaluate", trained, "--out", tmp_path, "--features=inception", "--device=cpu")
    assert result.exit_code == 1
    assert 'pip install "ddpm-lesson[inception]"' in result.output


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


# Honest, and early


def folder_of(images, folder):
    """Write images (N, 1, H, W) in [-1, 1] as files."""
    folder.mkdir(parents=True)
    for i, image in enumerate(to_bytes(images)):
        Image.fromarray(image[0].numpy()).save(folder / f"{i:04d}.png")
    return folder


def nothing_is_sampled(monkeypatch):
    monkeypatch.setattr("ddpm_lesson.cli.evaluate.in_batches", lambda *arguments: pytest.fail("it sampled"))


def test_training_images_are_not_held_out_again(digits, caplog):
    training, held_out = digits
    assert torch.equal(unseen(torch.cat((training[:3], held_out[:5])), training), held_out[:5])
    assert "3 of 8 held-out images are among the training images" in caplog.text


def test_digits_held_out_are_new_to_the_model(digits, caplog):
    training, held_out = digits
    assert torch.equal(unseen(held_out, training), held_out)
    assert caplog.text == ""


def test_closeness_to_training_images_that_are_held_out_is_refused(digits):
    with pytest.raises(EvaluationError, match="40 of 40 held-out images are among the training images"):
        closeness(digits[1][:40], digits[0][:40], digits[0][:40])


def test_a_flat_folder_is_not_evaluated_on_its_own_training_images(trained, digits, tmp_path, monkeypatch):
    nothing_is_sampled(monkeypatch)
    folder = folder_of(digits[0][:40], tmp_path / "mine")
    result = invoke("evaluate", trained, "--out", tmp_path / "out", "--data", folder, "--device=cpu")
    assert result.exit_code == 1
    assert "40 of 40 held-out images are among the training images" in result.output
    assert "put some aside in a folder test/ beside train/" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--classifier=mnist"], ["classifier must hold images of shape (1, 8, 8)", "(1, 28, 28)"]),
        (["--bits-times=5000"], ["n_times must lie in 1 .. 59"]),
        (["--n=20"], ["generated must hold more than 32 images"]),
        (["--features=pixels", "--n=60"], ["generated must hold more than 64 images"]),
    ],
)
def test_what_cannot_be_measured_is_said_before_the_first_sample(trained, tmp_path, monkeypatch, options, words):
    nothing_is_sampled(monkeypatch)
    result = invoke("evaluate", trained, "--out", tmp_path / "out", "--device=cpu", *options)
    assert result.exit_code == 1
    assert [word for word in words if word not in result.output] == []


def test_a_folder_that_cannot_be_written_is_said_before_the_first_sample(trained, tmp_path, monkeypatch):
    nothing_is_sampled(monkeypatch)
    (tmp_path / "file").touch()
    result = invoke("evaluate", trained, "--out", tmp_path / "file" / "out", "--device=cpu")
    assert result.exit_code == 1
    assert "cannot write into" in result.output


def test_results_that_cannot_be_written_have_been_printed(trained, tmp_path, monkeypatch):
    def full(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    options = ["--n=70", "--steps=2", "--bits-images=4", "--bits-times=2", "--device=cpu"]
    result = invoke("evaluate", trained, "--out", tmp_path, *options)
    assert result.exit_code == 1
    assert "Frechet distance" in result.output
    assert f"cannot write into {tmp_path}: No space left on device" in " ".join(result.output.split())


def test_a_classifier_that_is_given_gives_the_features_too(trained, tmp_path):
    classifier = Classifier((1, 8, 8), n_features=6)
    save_classifier(classifier, tmp_path / "mine")
    options = ["--n=70", "--steps=2", "--bits-images=4", "--bits-times=2", "--device=cpu"]
    result = invoke("evaluate", trained, "--out", tmp_path / "out", "--classifier", tmp_path / "mine", *options)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert record["frechet"]["features"] == f"classifier ({tmp_path / 'mine'})"
    assert record["frechet"]["n_features"] == 6


def test_a_model_whose_images_are_not_here_asks_for_others(model, tmp_path, monkeypatch):
    checkpoint.save(model, tmp_path / "run", image_shape=(1, 8, 8), training={"data": "cifar10-jpeg"})
    result = invoke("evaluate", tmp_path / "run", "--out", tmp_path / "out", "--device=cpu")
    assert result.exit_code == 1
    assert "was trained on 'cifar10-jpeg', which is not here: name images to compare with, with --data" in result.output


@pytest.mark.parametrize("name", ["settings.json", "model.safetensors", "training.safetensors"])
def test_a_classifier_is_not_written_over_a_run(tmp_path, name):
    (tmp_path / name).write_text("precious", encoding="utf-8")
    result = invoke("train-classifier", "digits", "--epochs=1", "--out", tmp_path, "--device=cpu")
    assert result.exit_code == 1
    assert "already holds a run or a model" in result.output
    assert (tmp_path / name).read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("option", ["--n-channels=0", "--n-channels=-3", "--n-features=0", "--epochs=0", "--seed=-1"])
def test_a_classifier_of_nothing_is_a_usage_error(tmp_path, option):
    result = invoke("train-classifier", "digits", "--out", tmp_path / "out", option)
    assert result.exit_code == 2
    assert "is not in the range" in result.output


def test_a_classifier_is_tested_on_images_put_aside_where_there_is_no_test_split(digits, tmp_path):
    for i in range(2):
        folder_of(digits[0][30 * i : 30 * (i + 1)], tmp_path / "data" / "ab"[i])
    sizes = ["--n-channels=8", "--n-features=8", "--epochs=1", "--device=cpu"]
    result = invoke("train-classifier", tmp_path / "data", "--out", tmp_path / "out", *sizes)
    assert result.exit_code == 0, result.output
    assert "every tenth one is put aside" in result.output
    assert "of 6 test images right" in result.output

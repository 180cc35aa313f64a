"""Training with labels, and for other targets than the noise: what a batch holds, what goes to disk and comes back."""

import json
from dataclasses import replace

import pytest
import torch

from ddpm_lesson import checkpoint, load_images
from ddpm_lesson.data import ImageDataset
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.evaluate import load_classifier
from ddpm_lesson.flow import FlowMatching, flow_steps
from ddpm_lesson.run import run
from ddpm_lesson.sample import dpm_steps, guided, sample
from ddpm_lesson.sample.steps import final_samples
from ddpm_lesson.train import TrainConfig, TrainState, build_diffusion, train
from ddpm_lesson.train.batches import draw_batch, part_of, seeded
from tests.states import assert_same_state
from tests.tiny import TINY

pytestmark = pytest.mark.usefixtures("one_thread")
GUIDED, FLOW = replace(TINY, n_classes=10), replace(TINY, prediction="flow")
KINDS = {
    "guided": GUIDED,
    "flow": FLOW,
    "guided flow": replace(FLOW, n_classes=10),
    "v": replace(TINY, prediction="v"),
    "x0": replace(TINY, prediction="x0"),
}
kinds = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def batch_of(config, dataset, step=0):
    """The batch of a step, as the loop draws it."""
    diffusion = build_diffusion(config, 1)
    with seeded(step, torch.device("cpu")):
        return draw_batch(dataset, config, step, diffusion)


def test_each_image_comes_with_its_own_label(digits):
    config = replace(GUIDED, batch_size=500, label_dropout=0.0)
    batch = batch_of(config, digits)
    known = {image.numpy().tobytes(): int(label) for image, label in zip(digits[:], digits.labels, strict=True)}
    assert [known[image.numpy().tobytes()] for image in batch.x0] == batch.class_labels.tolist()


def test_a_tenth_of_the_labels_is_left_out(digits):
    config = replace(GUIDED, batch_size=1500)
    left_out = torch.cat([batch_of(config, digits, step).class_labels == 10 for step in range(20)]).float().mean()
    assert abs(left_out - 0.1) < 4 * (0.1 * 0.9 / 30_000) ** 0.5  # four standard errors


@pytest.mark.parametrize(("dropout", "distinct"), [(0.0, set(range(10))), (1.0, {10})])
def test_all_or_no_labels_can_be_left_out(digits, dropout, distinct):
    config = replace(GUIDED, batch_size=500, label_dropout=dropout)
    assert set(batch_of(config, digits).class_labels.tolist()) == distinct


def test_labels_change_neither_images_nor_noise_nor_times(digits):
    plain, labelled = batch_of(TINY, digits), batch_of(GUIDED, digits)
    assert plain.class_labels is None
    for one, other in zip(plain[:3], labelled[:3], strict=True):
        assert torch.equal(one, other)


def test_a_part_of_a_batch_keeps_its_labels(digits):
    batch = batch_of(GUIDED, digits)
    assert torch.equal(part_of(batch, slice(3, 7)).class_labels, batch.class_labels[3:7])


def test_times_of_a_flow_fill_the_line(digits):
    t = batch_of(replace(FLOW, batch_size=1500), digits).t
    assert t.dtype == torch.float32
    assert 0 <= t.min() < 0.01 < 0.99 < t.max() <= 1
    assert abs(t.mean() - 0.5) < 4 * (1 / 12 / 1500) ** 0.5


@kinds
def test_one_step_has_the_loss_of_its_batch(digits, config):
    state = TrainState(config, (1, 8, 8), "cpu")
    expected = state.diffusion.eval().loss(*batch_of(config, digits))  # the weights are zeros at the end: no dropout
    torch.testing.assert_close(next(train(state, digits)).loss, expected.detach(), rtol=1e-5, atol=1e-6)


def test_labels_learn_and_those_that_never_came_do_not(digits):
    few = digits.part(digits.labels < 5)
    state = TrainState(replace(GUIDED, label_dropout=0.0, lr=1e-2), (1, 8, 8), "cpu")
    list(train(state, few))
    assert state.diffusion.eps_model.class_emb.weight.any(1).tolist() == [True] * 5 + [False] * 6


@kinds
def test_a_run_goes_on_as_if_it_had_never_stopped(digits, tmp_path, config):
    whole, first, second = (TrainState(replace(config, train_steps=6), (1, 8, 8), "cpu") for _ in range(3))
    list(train(whole, digits))
    for step in train(first, digits):
        if step.step == 3:
            break
    checkpoint.save_training(first, tmp_path)
    checkpoint.load_training(second, tmp_path)
    list(train(second, digits))
    assert_same_state(second, whole)


@kinds
def test_a_model_comes_back_from_disk_as_what_it_is(digits, tmp_path, config, rng, randomise):
    model = TrainState(config, (1, 8, 8), "cpu").averaged()
    randomise(model)
    checkpoint.save(model, tmp_path)
    flow = config.prediction == "flow"
    back = checkpoint.load_flow(tmp_path, "cpu") if flow else checkpoint.load(tmp_path, "cpu")
    assert type(back) is type(model) is (FlowMatching if flow else DenoiseDiffusion)
    assert back.eps_model.n_classes == config.n_classes

    def drawn(m):
        labels = torch.tensor([1, 2]) if config.n_classes else None
        if flow:
            return final_samples(flow_steps(m, (2, 1, 8, 8), 4, rng(), class_labels=labels))
        return sample(m if labels is None else guided(m, labels, 2.0), (2, 1, 8, 8), 4, rng())

    torch.testing.assert_close(drawn(back), drawn(model), rtol=1e-4, atol=1e-4)  # weights lie otherwise in memory


@pytest.mark.parametrize(
    ("config", "opened", "words"),
    [
        (FLOW, checkpoint.load, "is a flow, and no diffusion: open it with load_flow"),
        (TINY, checkpoint.load_flow, "is a diffusion, and no flow: open it with load"),
    ],
    ids=["flow", "diffusion"],
)
def test_a_model_of_the_other_kind_is_refused_in_a_sentence(tmp_path, config, opened, words):
    checkpoint.save(TrainState(config, (1, 8, 8), "cpu").averaged(), tmp_path)
    with pytest.raises(checkpoint.CheckpointError, match=words):
        opened(tmp_path)


@kinds
def test_a_whole_run_leaves_samples_and_goes_on(tmp_path, config):
    config = replace(config, train_steps=2)
    run(config, tmp_path, "cpu")
    assert (tmp_path / "samples" / "step_0000002.png").is_file()
    settings = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    assert settings["diffusion"]["prediction"] == config.prediction
    assert run(replace(config, train_steps=3), tmp_path, "cpu", resume=True).step == 3


@pytest.mark.parametrize("changes", [{"prediction": "v"}, {"n_classes": 11}, {"label_dropout": 0.5}], ids=str)
def test_target_and_labels_cannot_change_while_a_run_goes_on(tmp_path, changes):
    run(replace(GUIDED, train_steps=1), tmp_path, "cpu")
    with pytest.raises(checkpoint.CheckpointError, match=f"is of another run: {next(iter(changes))} is"):
        run(replace(GUIDED, train_steps=2, **changes), tmp_path, "cpu", resume=True)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (ImageDataset(torch.zeros(20, 1, 8, 8, dtype=torch.uint8)), "n_classes must be left out for images without"),
        (
            ImageDataset(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.arange(20)),
            "n_classes must be at least 20, as many as 'digits' has; got 10",
        ),
    ],
    ids=["no labels", "too many"],
)
def test_labels_that_do_not_fit_are_refused_before_the_first_step(dataset, message, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=message):
        next(train(TrainState(GUIDED, (1, 8, 8), "cpu"), dataset))
    monkeypatch.setattr("ddpm_lesson.run.load_images", lambda *_, **__: dataset)
    with pytest.raises(ValueError, match=message):
        run(GUIDED, tmp_path / "run", "cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value"), [("prediction", "noise"), ("n_classes", 0), ("label_dropout", -0.1), ("label_dropout", 2.0)]
)
def test_wrong_settings_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field} must be .*got {value!r}"):
        TrainConfig(**{field: value})


# Shipped weights


def share_seen_as_asked(images, asked):
    """How often the shipped classifier sees the digit that was asked for."""
    with torch.no_grad():
        return float((load_classifier("digits", "cpu")(images).argmax(-1) == asked).float().mean())


@pytest.mark.parametrize(("scale", "low", "high"), [(0.0, 0.0, 0.25), (3.0, 0.9, 1.0)])
def test_shipped_model_draws_the_digit_that_is_asked_for_if_guided(rng, scale, low, high):
    labels = torch.arange(60) % 10
    model = guided(checkpoint.load("digits_guided", "cpu"), labels, scale)
    assert low <= share_seen_as_asked(final_samples(dpm_steps(model, (60, 1, 8, 8), 10, rng())), labels) <= high


def test_shipped_flow_draws_digits(rng):
    images = final_samples(flow_steps(checkpoint.load_flow("digits_flow", "cpu"), (60, 1, 8, 8), 10, rng()))
    with torch.no_grad():
        sure = load_classifier("digits", "cpu")(images).softmax(-1).amax(-1)
        noise = load_classifier("digits", "cpu")(torch.randn(60, 1, 8, 8, generator=rng(1))).softmax(-1).amax(-1)
    assert sure.mean() > 0.9 > noise.mean()

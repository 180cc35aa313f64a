"""The study of time to quality compares what it says: the same budget, unseen noise, one change a variant."""

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

from ddpm_lesson import DenoiseDiffusion, load_images
from ddpm_lesson.bound import min_snr_weights
from ddpm_lesson.data import DATASETS
from ddpm_lesson.lesson.kit.probe import fresh_noise
from ddpm_lesson.train import get_preset, train
from tests.benchmarks import quality
from tests.benchmarks.quality import VARIANTS, Judge, Variant, begin, config_of, folded

pytestmark = pytest.mark.usefixtures("one_thread")
TOY = {"n_channels": 8, "is_attn": (False, False), "mixed_precision": "no"}
ALL = [(data, name) for data, variants in VARIANTS.items() for name in variants]


@pytest.fixture
def miniature(monkeypatch):
    """The study of digits with a tiny network, little time and few samples."""
    study = replace(quality.STUDIES["digits"], seconds=0.1, n=40, evaluations=2, settings=TOY)
    monkeypatch.setitem(quality.STUDIES, "digits", study)
    for name, small in {"ROUNDS": 2, "FINE": 3}.items():
        monkeypatch.setattr(quality, name, small)
    three = {"preset": Variant(), "patches of 2": Variant(patch=2), "min-SNR": Variant(min_snr=True)}
    monkeypatch.setitem(quality.VARIANTS, "digits", three)


@pytest.mark.parametrize(("data", "name"), ALL)
def test_a_variant_is_the_preset_but_for_what_it_says(data, name):
    variant, preset = VARIANTS[data][name], config_of(data, Variant(), 30, 0)
    config = config_of(data, variant, 30, 0)
    assert config == replace(preset, **variant.changes)
    assert (config == preset) == (not variant.changes)
    shape = (variant.patch**2, *(side // variant.patch for side in DATASETS[data][1:]))
    assert begin(config, variant, shape).diffusion.loss(torch.ones(1, *shape)) > 0


def test_squares_become_channels_and_pixels_again():
    images = load_images("digits")
    squares = folded(images, 2)
    assert squares.shape == (4, 4, 4)
    assert torch.equal(squares[:5][:, :, 1, 2], images[:5][:, 0, 2:4, 4:6].flatten(1))
    assert torch.equal(F.pixel_shuffle(squares[:5], 2), images[:5])


def test_weights_of_the_times_reach_the_loss_of_the_loop():
    config = get_preset("digits", train_steps=1, **TOY)
    images = load_images("digits")
    plain, weighted = (begin(config, Variant(min_snr=on), images.shape) for on in (False, True))
    losses = [float(next(train(state, images)).loss) for state in (plain, weighted)]
    assert losses[1] < losses[0]  # times with more signal than gamma = 5 count less, none counts more
    weights = min_snr_weights(plain.diffusion.schedule)
    x0, eps, t = images[:3], torch.ones(3, *images.shape), torch.tensor([5, 300, 900])
    diffusion = weighted.diffusion
    assert diffusion.loss(x0, eps, t) == DenoiseDiffusion.loss(diffusion, x0, eps, t, weights=weights)


def test_the_judge_finds_training_images_nearer_than_unseen_ones_and_noise_far(miniature):
    images = load_images("digits")
    judge = Judge("digits", images)
    unseen = judge.distance(load_images("digits", "test")[:])
    assert judge.distance(images[:]) < 1e-6 < unseen < judge.distance(torch.randn(100, *images.shape)) / 10


def test_samples_that_judge_share_no_noise_with_training(miniature):
    images = load_images("digits")
    judge, seen = Judge("digits", images), []
    state = begin(config_of("digits", Variant(), 2, 0), Variant(), images.shape)
    state.ema.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    for _ in train(state, images):
        judge.of_run(state, 1, seed=0, evaluations=2)
    assert torch.equal(seen[0], fresh_noise(torch.empty(40, 1, 8, 8)))
    assert torch.equal(seen[0], seen[2])  # the same at every mark; two evaluations each


def test_a_run_of_two_steps_has_a_mark_for_every_share(miniature):
    images = load_images("digits")
    line = quality.make_run("digits", "preset", 0, 2, images, Judge("digits", images))
    assert [mark["step"] for mark in line["marks"]] == [1, 1, 2]


def test_runs_are_made_once_and_end_in_a_report(miniature, tmp_path):
    runs = tmp_path / "runs.jsonl"
    command = ["train", "digits", "--seeds", "0,1", "--fine", "--runs", str(runs)]
    for _ in range(2):
        assert CliRunner().invoke(quality.main, command, catch_exceptions=False).exit_code == 0
    kinds = [json.loads(line)["kind"] for line in runs.read_text(encoding="utf-8").splitlines()]
    assert [kinds.count(kind) for kind in ("cost", "run")] == [3, 6]
    CliRunner().invoke(quality.main, ["report", "--out", str(tmp_path), "--runs", str(runs)], catch_exceptions=False)
    record = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["digits"]
    preset = next(row for row in record["variants"] if row["variant"] == "preset")
    assert preset["gain"] == {"mean": 0, "spread": 0, "n": 2}
    assert preset["cost"] == 1
    for row in record["variants"]:
        assert row["seeds"] == [0, 1]
        assert min(mark["mean"] for mark in [*row["marks"], row["fine"]]) > record["floor"]["mean"]
    assert (tmp_path / "quality.png").stat().st_size > 10_000


def test_the_budget_pays_fewer_steps_where_they_cost_more(tmp_path):
    runs = tmp_path / "runs.jsonl"
    for name, ratio in (("preset", 1.0), ("width 48", 2.0)):
        line = {"kind": "cost", "data": "digits", "variant": name, "preset": 0.1, "ratio": ratio}
        quality.add_line(runs, line)
    steps = [quality.steps_of("digits", name, runs, None) for name in ("preset", "width 48")]
    assert steps == [round(quality.STUDIES["digits"].seconds / 0.1), round(quality.STUDIES["digits"].seconds / 0.2)]


def test_a_goal_between_two_marks_is_reached_along_the_line_of_the_picture():
    assert quality.seconds_to(20, [1, 4, 16], [80, 40, 10]) == pytest.approx(8)  # halfway down, in both logarithms
    assert quality.seconds_to(40, [1, 4, 16], [80, 40, 10]) == pytest.approx(4)
    assert quality.seconds_to(5, [1, 4, 16], [80, 40, 10]) is None
    assert quality.seconds_to(90, [1, 4, 16], [80, 40, 10]) == 1


def test_a_variant_that_is_not_there_is_named_beside_those_that_are(tmp_path):
    command = ["train", "digits", "--only", "width 17", "--runs", str(tmp_path / "runs.jsonl")]
    result = CliRunner().invoke(quality.main, command)
    assert result.exit_code == 2
    assert "width 17: the variants of digits are preset; width 16;" in result.output

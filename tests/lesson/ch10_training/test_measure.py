"""What is measured about a run: its loss by time, its memory, its record, and runs that are ill on purpose."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from ddpm_lesson import PRESETS, DenoiseDiffusion, NoiseSchedule, load_images
from ddpm_lesson.lesson.ch10_training.diagnosis import ILLNESSES, SMALL, course_of, in_words
from ddpm_lesson.lesson.ch10_training.measure import (
    average_of,
    losses_by_time,
    principal_variances,
    spread,
    straight_line_loss,
)
from ddpm_lesson.lesson.ch10_training.memory import MemoryNeeds, measured_memory, saved_for_backward
from ddpm_lesson.lesson.ch10_training.record import CURVES, Record, load_curve, load_record
from ddpm_lesson.lesson.kit.probe import image_losses, make_probe
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.train import TrainState, build_diffusion
from tests.benchmarks.training_memory import PeakMemory, measure_all
from tests.benchmarks.training_record import look, question, save
from tests.tiny import TINY

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")[:200]


# Loss


def test_guessing_nothing_costs_the_power_of_the_noise(zero, digits):
    eps = torch.randn(8, 1, 8, 8)
    losses = image_losses(DenoiseDiffusion(zero, 20), digits[:8], eps, torch.arange(8))
    torch.testing.assert_close(losses, eps.square().mean((1, 2, 3)))


def test_probe_asks_the_same_at_evenly_spread_times(wavy, digits):
    diffusion = DenoiseDiffusion(wavy, 40)
    one, other = (make_probe(digits[:8], 40) for _ in range(2))
    assert one.t.tolist() == [2, 7, 12, 17, 22, 27, 32, 37]
    assert one.loss(diffusion) == other.loss(diffusion)


def test_loss_by_time_of_the_best_line_is_the_formula(rng):
    schedule = NoiseSchedule.linear(10, 1e-2, 0.4)
    x0 = torch.randn(4000, 1, 2, 2, generator=rng(7)) * torch.tensor([0.3, 0.5, 1.0, 2.0]).view(1, 1, 2, 2)
    v = principal_variances(x0)
    mean = x0.flatten(1).double().mean(0)
    _, axes = torch.linalg.eigh(x0.flatten(1).double().T.cov(correction=0))

    class Line(nn.Module):
        def forward(self, xt, t):
            a = schedule.to(torch.float64).alpha_bar[t][:, None]
            centred = (xt.flatten(1).double() - a.sqrt() * mean) @ axes
            return ((1 - a).sqrt() * centred / (a * v + 1 - a) @ axes.T).view(xt.shape).float()

    losses = losses_by_time(DenoiseDiffusion(Line(), schedule=schedule), x0, torch.tensor([0, 4, 9]))
    error = losses.std(1) / math.sqrt(len(x0))
    assert ((losses.mean(1) - straight_line_loss(v, schedule)[[0, 4, 9]]).abs() < 5 * error).all()


def test_spread_adds_up_to_the_whole_variance():
    losses = torch.rand(5, 7, dtype=torch.float64)
    parts = spread(losses)
    assert parts.within + parts.between == pytest.approx(float(losses.var(correction=0)))
    assert parts.of_batch(4, stratified=True) == pytest.approx(parts.within / 4)


def test_average_with_warm_up_is_that_of_training():
    config = replace(TINY, ema_decay=0.6)
    state = TrainState(config, (1, 8, 8), "cpu")
    weights = torch.randn(30, dtype=torch.float64)
    weight = state.diffusion.eps_model.image_proj.bias
    for value in weights:
        with torch.no_grad():
            weight.fill_(float(value))
        state.ema.update_parameters(state.diffusion.eps_model)
    averages, shares = average_of(weights, 0.6)
    assert float(state.ema.module.image_proj.bias[0].detach()) == pytest.approx(float(averages[-1]), abs=1e-6)
    assert float(shares @ weights) == pytest.approx(float(averages[-1]))
    assert float(shares.sum()) == pytest.approx(1)


# Memory


def test_what_a_linear_layer_keeps_is_its_input():
    class OneLayer(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, xt, t):
            return self.layer(xt)

    rows = 3 * 8 * 8 * 4  # bytes of (3, 1, 8, 8): the layer's input, then eps and eps_theta for the loss
    assert saved_for_backward(OneLayer(), torch.zeros(3, 1, 8, 8)) == 3 * rows


def test_what_is_kept_grows_with_the_batch():
    model = build_diffusion(TINY, 1).eps_model.train()
    one, two, four = (saved_for_backward(model, torch.zeros(n, 1, 8, 8)) for n in (1, 2, 4))
    assert two == pytest.approx(2 * one, rel=0.02)
    assert four == pytest.approx(4 * one, rel=0.02)


def test_peak_counts_what_is_held_at_once():
    with PeakMemory() as memory:
        a = torch.zeros(1000)  # 4,000 bytes
        b = a + 1  # 8,000 at once
        del a
        c = b.view(10, 100)  # the same memory
        del b
        d = c * 2
        del c
    assert (memory.peak, memory.now) == (8000, 4000)
    del d
    assert memory.now == 0


def test_training_holds_five_copies_of_the_weights_and_the_activations():
    memory = MemoryNeeds(weights=100, kept=7, sampled=3)
    assert sum(memory.training(10).values()) == 5 * 100 + 70
    assert memory.sampling(10) == 130


def test_stored_memory_is_what_is_measured_now():
    stored = measured_memory()
    assert set(stored) == {"digits", "mnist", "cifar10"}
    now = measure_all(PRESETS["digits"])
    assert stored["digits"].weights == now.weights
    assert stored["digits"].kept == pytest.approx(now.kept, rel=0.2)  # attention keeps more in some versions
    assert stored["digits"].sampled == pytest.approx(now.sampled, rel=0.3)


# Records


def test_record_comes_back_as_it_was_written(tmp_path, wavy):
    diffusion = DenoiseDiffusion(wavy, 1000)
    asked = question(diffusion, torch.rand(4, 3, 4, 6) * 2 - 1)
    record = Record({"data": "noise"}, asked.xt, [1, 30], [look(diffusion, asked, 2) for _ in range(2)], [(1, 0.9871)])
    save(record, tmp_path, "noise")
    back = load_record("noise", tmp_path)
    assert (back.steps, back.losses, back.info["data"]) == (record.steps, record.losses, "noise")
    for one, other in zip(record.looks, back.looks, strict=True):
        for x, y in zip(one, other, strict=True):
            torch.testing.assert_close(y, x.clamp(-1, 1), atol=1 / 127, rtol=0)
    torch.testing.assert_close(back.xt, record.xt.clamp(-1, 1), atol=1 / 127, rtol=0)


def test_looks_use_the_same_noise_every_time(wavy):
    diffusion = DenoiseDiffusion(wavy, 1000)
    one, other = (look(diffusion, question(diffusion, torch.zeros(2, 1, 4, 4)), 2) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_shipped_record_learns(name):
    record = load_record(name)
    assert record.steps == sorted(record.steps)
    assert record.losses[-1][1] < 0.5 * record.losses[0][1]
    assert not torch.equal(record.looks[0][0], record.looks[-1][0])
    assert record.looks[-1][0].mean() < -0.2  # black ground


def test_shipped_curve_falls():
    steps, losses = load_curve("mnist")
    assert len(steps) == len(losses) > 1000
    assert sum(losses[-100:]) < 0.3 * sum(losses[:100])


def test_every_record_of_the_lesson_is_named_and_its_curve_is_whole():
    assert {file.stem for file in (assets_folder() / "training").glob("*.png")} == set(CURVES)
    assert load_curve("digits") == tuple(map(list, zip(*load_record("digits").losses, strict=True)))
    assert load_curve("mnist")[0][-1] == 22_000 > load_record("mnist").losses[-1][0]


@pytest.mark.parametrize("load", [load_record, load_curve])
def test_unknown_record_is_refused(load):
    with pytest.raises(ValueError, match=r"name must be one of digits, mnist; got 'digit'"):
        load("digit")


# Illnesses

SHORT = replace(SMALL, train_steps=30)


@pytest.fixture(scope="module")
def courses():
    return {name: course_of(name, SHORT, n_samples=4, sample_steps=5) for name in ILLNESSES}


def test_healthy_run_learns(courses):
    healthy = courses["healthy"]
    assert len(healthy.losses) == len(healthy.grad_norms) == 30
    assert healthy.losses[0] > 0.9
    assert healthy.probe < 0.6
    assert healthy.lowest == -1


def test_too_high_a_rate_throws_the_loss_up_and_too_low_a_one_leaves_it(courses):
    high = courses["learning rate 100 times too high"]
    assert max(high.losses) > 1.5 > max(courses["healthy"].losses)
    assert courses["learning rate 100 times too low"].probe > 0.8


def test_data_in_zero_to_one_is_seen_in_the_data_and_not_in_the_loss(courses):
    pale = courses["data in [0, 1]"]
    assert pale.lowest == 0
    assert pale.probe < courses["healthy"].probe


def test_average_without_warm_up_is_the_random_beginning_and_trains_as_ever(courses):
    stuck = courses["average without warm-up"]
    assert stuck.losses == courses["healthy"].losses
    assert stuck.probe == courses["healthy"].probe
    assert stuck.probe_ema > 0.95


def test_one_t_makes_the_loss_wobble(courses):
    def wobble(course):
        return float(torch.tensor(course.losses[10:]).diff().abs().mean())

    assert wobble(courses["one t for the whole batch"]) > 2 * wobble(courses["healthy"])


def test_network_that_guesses_the_image_fails_the_probe(courses):
    assert courses["network guesses the image"].probe > 1


def test_words_tell_the_numbers(courses):
    assert "held-out loss, average: 0.9" in in_words(courses["average without warm-up"])


def test_unknown_illness_is_refused():
    with pytest.raises(ValueError, match=r"illness must be one of healthy, .*; got 'flu'"):
        course_of("flu")

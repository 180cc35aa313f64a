"""Training does what Ho et al. 2020, Algorithm 1 says, stops and goes on anywhere, and refuses wrong settings."""

import random
from dataclasses import FrozenInstanceError, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ddpm_lesson.data import DATASETS, ImageDataset, load_images
from ddpm_lesson.train import PRESETS, TrainConfig, TrainState, build_diffusion, get_preset, train
from ddpm_lesson.train.batches import combine_seeds, next_indices, random_flip
from ddpm_lesson.train.loop import average_with_warmup, learning_rate
from tests.states import assert_same_state
from tests.tiny import TINY, Float64Images, start_in_float64

pytestmark = pytest.mark.usefixtures("one_thread")


def next_batch(dataset, config, step):
    """The images of a step."""
    return dataset[next_indices(dataset, config, step)]


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return load_images("digits")


def numbered_images(count: int) -> ImageDataset:
    """Images that are all of one byte: 0, 1, 2, ..."""
    return ImageDataset(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8))


def start(config: TrainConfig = TINY) -> TrainState:
    return TrainState(config, (1, 8, 8), "cpu")


def weights(state: TrainState) -> list[Tensor]:
    return [p.detach().clone() for p in state.diffusion.eps_model.parameters()]


def fixed_loss(state: TrainState, x0: Tensor) -> float:
    """The loss at fixed times and noise, so that two moments of a run can be compared."""
    diffusion = state.diffusion.eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        return float(torch.stack([diffusion.loss(x0) for _ in range(8)]).mean())


# Presets and settings


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_a_model_whose_loss_is_finite(name):
    shape = DATASETS[PRESETS[name].data]
    diffusion = build_diffusion(PRESETS[name], shape[0])
    with torch.no_grad():
        assert diffusion.loss(torch.zeros(2, *shape)).isfinite()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_named_after_their_data_and_cannot_be_changed(name):
    preset = get_preset(name)
    assert preset.data == name.split("_")[0]
    with pytest.raises(FrozenInstanceError):
        preset.lr = 1.0


@pytest.mark.parametrize("name", PRESETS)
def test_presets_draw_samples_in_steps_that_the_model_has(name):
    preset = PRESETS[name]
    assert preset.sample_steps is None or 1 <= preset.sample_steps <= preset.n_steps


@pytest.mark.parametrize(("n_steps", "sample_steps"), [(20, 20), (50, 50), (400, 50)])
def test_grids_of_a_shorter_chain_take_its_steps(n_steps, sample_steps):
    assert get_preset("digits", n_steps=n_steps).sample_steps == sample_steps
    with pytest.raises(ValueError, match="sample_steps must be at most n_steps"):
        get_preset("digits", n_steps=n_steps, sample_steps=n_steps + 1)


def test_cifar10_preset_is_the_papers_setting():
    c = PRESETS["cifar10"]
    assert (c.n_channels, c.ch_mults, c.is_attn, c.n_blocks) == (128, (1, 2, 2, 2), (False, True, False, False), 2)
    assert (c.n_steps, c.schedule, c.sigma, c.clip_x0) == (1000, "linear", "beta", True)
    assert (c.lr, c.warmup_steps, c.grad_clip, c.batch_size) == (2e-4, 5000, 1.0, 128)
    assert (c.dropout, c.flip, c.ema_decay, c.train_steps) == (0.1, True, 0.9999, 800_000)
    schedule = build_diffusion(replace(c, n_channels=32), 3).schedule
    assert schedule.settings == {"kind": "linear", "n_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}


def test_cifar10_preset_has_the_papers_number_of_parameters():
    model = build_diffusion(PRESETS["cifar10"], 3).eps_model
    assert sum(p.numel() for p in model.parameters()) == 35_746_307


def test_get_preset_replaces_fields_and_leaves_the_preset_alone():
    assert get_preset("digits", lr=0.5).lr == 0.5
    assert get_preset("digits").lr == 2e-3


def test_unknown_preset_is_answered_with_near_ones():
    with pytest.raises(ValueError, match=r"no preset called 'cifar'.*did you mean 'cifar10'.*digits, .*mnist"):
        get_preset("cifar")


def test_unknown_setting_is_answered_with_near_ones():
    with pytest.raises(ValueError, match=r"no setting 'batchsize'.*did you mean 'batch_size'"):
        get_preset("digits", batchsize=3)


NAN = float("nan")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((f, 0) for f in ("n_steps", "train_steps", "batch_size", "save_every", "sample_every", "n_samples")),
        *((f, -3) for f in ("n_steps", "batch_size", "warmup_steps", "cooldown_steps")),
        *((f, v) for f in ("lr", "grad_clip") for v in (0, -1.0, NAN)),
        *(("ema_decay", v) for v in (-0.1, 1, 1.5, NAN)),
        *(("mixed_precision", v) for v in ("fp32", "", None)),
    ],
)
def test_setting_out_of_range_is_named_with_its_value(field, value):
    with pytest.raises(ValueError, match=field) as error:
        replace(TINY, **{field: value})
    assert str(value) in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("sample_steps", 0), ("sample_steps", 21), ("train_steps", NAN), ("train_steps", 2.5)],
)
def test_setting_that_breaks_later_is_refused_at_once(field, value):
    with pytest.raises(ValueError, match=field):
        replace(TINY, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("schedule", "linar"), ("sigma", "big"), ("dropout", 1.0), ("n_groups", 3), ("is_attn", (True,)), ("n_blocks", 0)],
)
def test_setting_of_the_model_that_cannot_work_is_named_when_it_is_built(field, value):
    with pytest.raises(ValueError, match=field):
        build_diffusion(replace(TINY, **{field: value}), 1)


def test_build_diffusion_passes_every_setting_on():
    config = replace(TINY, n_heads=2, n_steps=33, schedule="cosine", sigma="posterior", clip_x0=False, dropout=0.3)
    diffusion = build_diffusion(config, 3)
    settings = diffusion.eps_model.settings
    assert settings["image_channels"] == 3
    for name in ("n_channels", "ch_mults", "is_attn", "n_blocks", "n_heads", "n_groups", "dropout"):
        assert settings[name] == getattr(config, name)
    assert (diffusion.n_steps, diffusion.schedule.settings["kind"]) == (33, "cosine")
    assert (diffusion.sigma, diffusion.clip_x0) == ("posterior", False)


# The average of the weights


@pytest.mark.parametrize("decay", [0.0, 0.25, 0.9, 0.9999])
def test_average_agrees_with_a_plain_loop(decay):
    model = nn.Linear(1, 1, bias=False).double()
    ema = AveragedModel(model, multi_avg_fn=average_with_warmup(decay))
    expected = 0.0
    values = [0.5, -1.0, 3.0, 2.0, 2.5, -7.0, 0.1, 4.0] * 5
    for n, value in enumerate(values):
        model.weight.data.fill_(value)
        ema.update_parameters(model)
        d = 0 if n == 0 else min(decay, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * value
        assert ema.module.weight.item() == pytest.approx(expected, rel=1e-12)


def test_first_update_makes_the_average_equal_to_the_weights(digits):
    state = start()
    before = weights(state)
    next(train(state, digits))
    assert all(map(torch.equal, weights(state), state.ema.module.parameters()))
    assert not all(map(torch.equal, weights(state), before))


def test_second_update_remembers_two_elevenths_of_the_first(digits):
    state = start(replace(TINY, ema_decay=0.9999))
    steps = train(state, digits)
    next(steps)
    first = weights(state)
    next(steps)
    for average, w1, w2 in zip(state.ema.module.parameters(), first, weights(state), strict=True):
        torch.testing.assert_close(average.detach(), 2 / 11 * w1 + 9 / 11 * w2, rtol=1e-5, atol=1e-7)


def test_averaging_leaves_the_schedule_alone(digits):
    state = start()
    before = {name: b.clone() for name, b in state.diffusion.named_buffers()}
    list(train(state, digits))
    for diffusion in (state.diffusion, state.averaged()):
        assert {n for n, b in diffusion.named_buffers() if torch.equal(b, before[n])} == before.keys()


def test_averaged_model_has_the_same_diffusion_and_no_dropout():
    state = start(replace(TINY, schedule="cosine", sigma="posterior", clip_x0=False))
    averaged = state.averaged()
    assert averaged.schedule.settings == state.diffusion.schedule.settings
    assert (averaged.sigma, averaged.clip_x0) == ("posterior", False)
    assert not any(module.training for module in averaged.modules())
    assert averaged.eps_model is state.ema.module


# One optimiser step


def step_by_hand(config: TrainConfig, dataset: ImageDataset) -> tuple[list[Tensor], torch.optim.Adam, Tensor, Tensor]:
    """The first step of a run, written out: weights, optimiser, loss, norm of the gradient."""
    diffusion = start_in_float64(config).diffusion.train()
    model = diffusion.eps_model
    x0 = next_batch(dataset, config, 0)
    with torch.random.fork_rng():
        torch.manual_seed(combine_seeds(config.seed, 0))
        t = torch.randint(config.n_steps, (len(x0),))
        eps = torch.randn_like(x0)
        alpha_bar = diffusion.schedule.alpha_bar[t].view(-1, 1, 1, 1)
        xt = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
        loss = F.mse_loss(model(xt, t), eps)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr / config.warmup_steps)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    optimizer.step()
    return [p.detach() for p in model.parameters()], optimizer, loss.detach(), norm


@pytest.mark.parametrize("grad_clip", [0.01, 1e6])
def test_first_step_equals_a_step_by_hand(digits, grad_clip):
    config, images = replace(TINY, grad_clip=grad_clip), Float64Images(digits.images)
    expected, adam, loss, norm = step_by_hand(config, images)
    state = start_in_float64(config)
    step = next(train(state, images))
    assert (step.step, step.lr) == (1, config.lr / 3)
    torch.testing.assert_close(step.grad_norm, norm)
    torch.testing.assert_close(step.loss.double(), loss, rtol=1e-6, atol=0)  # it is added up in float32
    torch.testing.assert_close(weights(state), expected, rtol=1e-6, atol=1e-8)
    moments = (state.optimizer.state_dict()["state"], adam.state_dict()["state"])
    torch.testing.assert_close(*moments, rtol=1e-5, atol=1e-10)


def first_gradient_norm(grad_clip: float, dataset: ImageDataset) -> tuple[float, float]:
    """Norm of the first gradient as reported, and as Adam got it (its first moment is a tenth of it)."""
    state = start(replace(TINY, grad_clip=grad_clip))
    step = next(train(state, dataset))
    moments = [s["exp_avg"].flatten() / 0.1 for s in state.optimizer.state.values()]
    return float(step.grad_norm), float(torch.cat(moments).norm())


def test_gradients_longer_than_grad_clip_are_shortened_to_it(digits):
    reported, applied = first_gradient_norm(0.01, digits)
    assert reported > 0.1
    assert applied == pytest.approx(0.01, rel=1e-3)


def test_gradients_shorter_than_grad_clip_are_left_alone(digits):
    reported, applied = first_gradient_norm(1e6, digits)
    assert applied == pytest.approx(reported, rel=1e-5)


def test_learning_rate_rises_over_the_warm_up_and_stays(digits):
    config = replace(TINY, lr=0.3, warmup_steps=3, train_steps=5)
    assert [learning_rate(config, step) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.3])
    assert [step.lr for step in train(start(config), digits)] == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.3])


def test_without_warm_up_the_learning_rate_is_full_at_once():
    assert learning_rate(replace(TINY, warmup_steps=0), 0) == TINY.lr


def test_learning_rate_falls_to_nothing_over_the_cool_down():
    config = replace(TINY, lr=0.4, warmup_steps=0, cooldown_steps=4, train_steps=6)
    assert [learning_rate(config, step) for step in range(7)] == pytest.approx([0.4, 0.4, 0.4, 0.3, 0.2, 0.1, 0.0])


# Batches


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_every_epoch_visits_every_image_once(epoch):
    dataset, config = numbered_images(48), replace(TINY, batch_size=16)
    batches = [next_batch(dataset, config, 3 * epoch + i) for i in range(3)]
    seen = (torch.cat(batches)[:, 0, 0, 0] + 1) * 127.5
    assert sorted(seen.round().int().tolist()) == list(range(48))


def test_epochs_come_in_different_orders():
    dataset = numbered_images(48)
    first, second = (next_batch(dataset, TINY, step) for step in (0, 3))
    assert not torch.equal(first, second)


def test_images_left_over_by_whole_batches_come_in_other_epochs():
    dataset, config = numbered_images(20), replace(TINY, batch_size=16)
    epochs = [next_batch(dataset, config, step)[:, 0, 0, 0] for step in range(10)]
    assert all(len(e.unique()) == 16 for e in epochs)
    assert len(torch.cat(epochs).unique()) == 20


def test_data_set_smaller_than_a_batch_is_one_batch():
    dataset, config = numbered_images(5), replace(TINY, batch_size=16, train_steps=3)
    assert next_batch(dataset, config, 7).shape == (5, 1, 8, 8)
    assert [step.step for step in train(start(config), dataset)] == [1, 2, 3]


def test_runs_of_different_seed_see_different_batches():
    dataset = numbered_images(200)
    first, second = (next_batch(dataset, replace(TINY, seed=seed), 0) for seed in (0, 1))
    assert not torch.equal(first, second)


def test_runs_of_different_seed_draw_different_noise():
    draws = [torch.randn(4, generator=torch.Generator().manual_seed(combine_seeds(seed, 9))) for seed in (0, 1)]
    assert not torch.equal(*draws)


def test_steps_of_a_run_draw_different_noise():
    draws = {float(torch.rand((), generator=torch.Generator().manual_seed(combine_seeds(3, i)))) for i in range(200)}
    assert len(draws) == 200


def test_runs_of_different_seed_share_no_seed_for_a_million_steps():
    seeds = np.concatenate([combine_seeds(seed, np.arange(1_000_000)) for seed in (0, 1, 42)])
    assert np.diff(np.sort(seeds)).all()


def test_runs_of_different_seed_start_from_different_weights():
    first, second = (weights(start(replace(TINY, seed=seed))) for seed in (0, 1))
    assert not torch.equal(first[0], second[0])


def test_runs_of_the_same_seed_are_equal(digits):
    states = [start(), start()]
    for state in states:
        list(train(state, digits))
    assert_same_state(*states)


def test_flips_mirror_about_half_of_the_images():
    x = torch.arange(2000.0).view(-1, 1, 1, 1) + torch.tensor([0.0, 0.25, 0.5])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = random_flip(x)
    same, mirrored = (torch.eq(y, z).flatten(1).all(1) for z in (x, x.flip(-1)))
    assert (same ^ mirrored).all()
    assert 900 < mirrored.sum() < 1100  # four standard deviations


@pytest.mark.parametrize("compiled", [False, True])
def test_the_network_is_compiled_if_the_setting_says_so(digits, compiled, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: asked.append(module))
    state = start(replace(TINY, compiled=compiled))
    next(train(state, digits))
    assert asked == [state.diffusion.eps_model] * compiled


def test_flip_setting_changes_what_is_learnt(digits):
    losses = [float(next(train(start(replace(TINY, flip=flip)), digits)).loss) for flip in (False, True)]
    assert losses[0] != losses[1]


# The loop


def test_loss_falls_on_a_few_images(digits):
    few = ImageDataset(digits.images[:4])
    state = start(replace(TINY, train_steps=60, lr=5e-3, dropout=0.0))
    before = fixed_loss(state, few[:])
    list(train(state, few))
    assert before == pytest.approx(1, abs=0.1)  # the untrained network predicts no noise
    assert fixed_loss(state, few[:]) < 0.6 * before


def test_loss_falls_in_bf16(digits):
    few = ImageDataset(digits.images[:4])
    state = start(replace(TINY, train_steps=60, lr=5e-3, dropout=0.0, mixed_precision="bf16"))
    list(train(state, few))
    assert fixed_loss(state, few[:]) < 0.6
    assert {p.dtype for p in state.diffusion.eps_model.parameters()} == {torch.float32}


def second_gradient_norm(precision: str, dataset: ImageDataset) -> float:
    steps = train(start(replace(TINY, mixed_precision=precision, lr=1e-2)), dataset)
    return float(list(islice(steps, 2))[1].grad_norm)


def test_each_run_of_a_process_has_its_own_precision(digits):
    norms = [second_gradient_norm(precision, digits) for precision in ("no", "bf16", "no", "bf16")]
    assert norms[0] == norms[2]
    assert norms[1] == norms[3]
    assert norms[0] != norms[1]
    assert norms[0] == pytest.approx(norms[1], rel=0.1)


@pytest.mark.parametrize("precisions", [("no", "no"), ("no", "bf16"), ("bf16", "no")])
def test_two_runs_side_by_side_do_not_disturb_each_other(digits, precisions):
    configs = [replace(TINY, mixed_precision=p, seed=i, train_steps=4) for i, p in enumerate(precisions)]
    alone, together = [start(c) for c in configs], [start(c) for c in configs]
    for state in alone:
        list(train(state, digits))
    list(zip(*(train(state, digits) for state in together), strict=True))
    for a, b in zip(alone, together, strict=True):
        assert_same_state(a, b)


def test_fp16_on_a_cpu_is_refused(digits):
    with pytest.raises(ValueError, match="fp16"):
        next(train(start(replace(TINY, mixed_precision="fp16")), digits))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="gradient scaling needs a CUDA GPU")
def test_stopped_fp16_run_continues_with_its_gradient_scale(digits):
    config = replace(TINY, mixed_precision="fp16")
    once, twice = (TrainState(config, digits.shape, "cuda") for _ in range(2))
    list(train(once, digits))
    list(islice(train(twice, digits), 5))
    assert twice.scaler["scale"] > 1
    list(train(twice, digits))
    assert once.scaler == twice.scaler


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_stopped_and_continued_training_equals_one_go(digits, stop):
    once, twice = start(), start()
    losses = [float(step.loss) for step in train(once, digits)]
    parts = [float(step.loss) for step in islice(train(twice, digits), stop)]
    assert twice.step == stop
    parts += [float(step.loss) for step in train(twice, digits)]
    assert parts == losses
    assert_same_state(once, twice)


def test_steps_count_from_one_and_end_at_train_steps(digits):
    state = start(replace(TINY, train_steps=3))
    assert [step.step for step in train(state, digits)] == [1, 2, 3]
    assert list(train(state, digits)) == []


def test_training_continues_after_samples_switched_dropout_off(digits):
    once, twice = start(), start()
    list(train(once, digits))
    for _ in train(twice, digits):
        twice.diffusion.eval()
    assert_same_state(once, twice)


def test_yielded_losses_do_not_keep_the_graph(digits):
    step = next(train(start(), digits))
    assert not step.loss.requires_grad
    assert not step.grad_norm.requires_grad


def test_training_leaves_the_callers_random_state_alone(digits):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    list(train(start(), digits))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_training_does_not_depend_on_the_callers_random_state(digits):
    states = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            states.append(start(replace(TINY, flip=True)))
            for _ in train(states[-1], digits):
                torch.rand(seed)
    assert_same_state(*states)


def test_training_writes_no_files(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    list(train(start(), digits))
    assert list(Path().iterdir()) == []

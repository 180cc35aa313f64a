"""The exercises of notebook 10 accept every right answer, random ones among them, and agree with the package."""

import numpy as np
import pytest
import torch

from ddpm_lesson.lesson.ch10_training import exercises as ex
from ddpm_lesson.lesson.ch10_training.exercises import draw
from ddpm_lesson.train import TrainConfig
from ddpm_lesson.train.loop import learning_rate


def noise_first(images, n_steps):
    eps = torch.randn(images.shape)
    x0 = 2 * (images / 255) - 1
    return [x0, torch.randint(0, n_steps, (len(images),)), eps]


def by_numpy(images, n_steps):
    rng = np.random.default_rng()
    x0 = images.numpy() / 127.5 - 1
    return x0, rng.integers(0, n_steps, len(x0)), rng.normal(size=x0.shape)


def in_place(weights, updates, decay):
    average, weights = weights.clone(), weights.clone()
    for update in updates:
        weights += update
        average.lerp_(weights, 1 - decay)
    return average


def as_a_sum(weights, updates, decay):
    path = torch.cat([weights[None], weights + updates.cumsum(0)])
    age = torch.arange(len(updates), -1, -1, dtype=torch.float64)
    shares = (1 - decay) * decay**age
    shares[0] = decay ** len(updates)
    return shares @ path


def packages_rate(step, n_steps, lr, warmup, cooldown):
    config = TrainConfig(lr=lr, train_steps=n_steps, warmup_steps=warmup, cooldown_steps=cooldown)
    return learning_rate(config, step)


def with_mse_loss(eps_model, optimizer, batches, alpha_bar, max_norm):
    out = []
    for x0, t, eps in batches:
        a = alpha_bar[t].unsqueeze(1)
        loss = torch.nn.functional.mse_loss(eps_model(a**0.5 * x0 + (1 - a) ** 0.5 * eps, t), eps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(eps_model.parameters(), max_norm)
        optimizer.step()
        optimizer.zero_grad()
        out.append(loss.detach())
    return torch.stack(out)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (ex.check_draw_batch, noise_first),
        (ex.check_draw_batch, by_numpy),
        (ex.check_averaged, in_place),
        (ex.check_averaged, as_a_sum),
        (ex.check_learning_rate, packages_rate),
        (ex.check_train_on, with_mse_loss),
    ],
)
def test_right_answer_is_accepted_in_other_forms(exercise, answer):
    assert exercise(answer).passed


def test_a_random_answer_passes_whatever_its_seed():
    for seed in range(20):

        def drawn(images, n_steps, seed=seed):
            torch.randn(seed + 1)  # what has been drawn before
            return draw.draw_batch(images, n_steps)

        assert ex.check_draw_batch(drawn).passed


@pytest.mark.parametrize("mistake", ex.check_draw_batch.known, ids=lambda m: m.name)
def test_a_random_mistake_is_recognised_whatever_its_seed(mistake):
    for seed in range(5):

        def drawn(images, n_steps, seed=seed):
            torch.randn(seed + 1)
            return mistake.function(images, n_steps)

        assert ex.check_draw_batch(drawn).misconception == mistake.name


def test_what_is_no_batch_is_named():
    assert "three tensors: x0, t, eps" in ex.check_draw_batch(lambda images, n: images).message
    wrong_t = ex.check_draw_batch(lambda images, n: (images / 1.0, torch.zeros(len(images), 1), images / 1.0))
    assert "t (B,)" in wrong_t.message
    with pytest.raises(TypeError, match="three tensors"):
        draw.describe_batch(lambda images, n: images, draw.some_bytes(3, 1, 2, 2), 4)


def untouched(images, n_steps): ...


def test_untouched_cell_is_no_attempt():
    assert "Your turn" in ex.check_draw_batch(untouched).message
    assert "return" in ex.check_draw_batch(lambda images, n_steps: print(end="")).message


def test_noise_for_bytes_is_no_empty_cell():
    answer = ex.check_draw_batch(
        lambda images, n: (images / 127.5 - 1, torch.zeros(len(images)), torch.randn_like(images))
    )
    assert "Not yet" in answer.message
    assert "randn_like(x0)" in answer.message


def test_wrong_images_are_found_out_by_their_values():
    def inverted(images, n_steps):
        x0, t, eps = draw.draw_batch(images, n_steps)
        return -x0, t, eps

    assert "a value of x0" in ex.check_draw_batch(inverted).message


def test_unknown_mistake_is_told_by_the_name_of_the_number():
    def half(images, n_steps):
        x0, t, eps = draw.draw_batch(images, n_steps)
        return x0, t, eps / 2

    assert "the standard deviation of eps is 0.50" in ex.check_draw_batch(half).message


def test_what_chance_refuses_once_is_looked_at_again():
    asked = []

    def unlucky(images, n_steps):
        asked.append(images)
        x0, t, eps = by_numpy(images, n_steps)
        return x0, t, eps + 0.7 * (len(asked) == 1)

    assert ex.check_draw_batch(unlucky).passed

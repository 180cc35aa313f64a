"""Nothing in a step waits for the device.

A GPU works off its queue while Python goes on; whoever reads a value, or copies one there from ordinary memory, waits
until the queue is empty. Tensors on PyTorch's device "meta" have shapes and no values, so that reading one is an error,
and every copy between them and the CPU is seen by ``Crossings``.
"""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddpm_lesson.data import ImageDataset
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.flow import flow_steps
from ddpm_lesson.sample import ddim_steps, ddpm_steps, dpm_steps, guided, heun_steps
from ddpm_lesson.train import TrainState, loop, train
from ddpm_lesson.train.loop import average_with_warmup, update_average
from ddpm_lesson.unet import UNet
from tests.tiny import TINY

META = torch.device("meta")


class Crossings(TorchDispatchMode):
    """Counts the operations that take values from one device to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        if len({x.device.type for x in tensors}) > 1:
            self.seen.append(str(func))
        return out


TARGETS = {  # that a run may have: settings beside TINY's
    "eps": {},
    "v": {"prediction": "v"},
    "flow": {"prediction": "flow"},
    "labels": {"n_classes": 10},
}


@pytest.fixture
def make_state(monkeypatch):
    monkeypatch.setattr(loop, "get_device", torch.device)
    monkeypatch.setattr(loop, "check_labels", lambda config, dataset: None)  # once, before the first step
    return lambda **settings: TrainState(replace(TINY, **settings), (1, 8, 8), "meta")


@pytest.fixture
def state(make_state) -> TrainState:
    return make_state()


def images(n: int = 64) -> ImageDataset:
    return ImageDataset(
        torch.zeros(n, 1, 8, 8, dtype=torch.uint8, device=META), torch.zeros(n, dtype=torch.long, device=META)
    )


@pytest.mark.parametrize(
    "wait", [lambda x: x.sum().item(), lambda x: x.cpu(), lambda x: bool(x.sum() > 0), lambda x: x[x > 0]]
)
def test_reading_a_value_is_an_error_here(wait):
    with pytest.raises((RuntimeError, NotImplementedError)):
        wait(torch.zeros(3, device=META))


def test_copy_to_the_device_is_seen():
    with Crossings() as crossings:
        torch.ones(3).to(META)
    assert len(crossings.seen) == 1


@pytest.mark.parametrize("settings", TARGETS.values(), ids=TARGETS)
def test_training_steps_do_not_wait(make_state, settings):
    steps = train(make_state(**settings), images())
    next(steps)  # copies the order of its epoch
    with Crossings() as crossings:
        assert [step.step for step in islice(steps, 3)] == [2, 3, 4]
    assert crossings.seen == []


def test_only_the_first_step_of_an_epoch_copies_its_order(state):
    steps = train(state, images(3 * TINY.batch_size))
    with Crossings() as crossings:
        copies = [len(crossings.seen) for _ in islice(steps, 7)]
    assert copies == [1, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("steps", [ddpm_steps, ddim_steps, heun_steps, dpm_steps])
def test_sampling_steps_do_not_wait(state, steps):
    n_steps = () if steps is ddpm_steps else (5,)
    times = [step.t for step in steps(state.diffusion, (2, 1, 8, 8), *n_steps)]
    assert times[0] == TINY.n_steps - 1
    assert len(times) == (5 if n_steps else TINY.n_steps)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_steps_of_a_flow_do_not_wait(make_state, solver):
    flow = make_state(prediction="flow").diffusion
    assert len(list(flow_steps(flow, (2, 1, 8, 8), 5, solver=solver))) == 5


def test_guided_steps_do_not_wait_once_their_labels_are_known(make_state):
    diffusion = guided(make_state(n_classes=10).diffusion, torch.tensor([3, 7]), 2.0)
    assert len(list(ddim_steps(diffusion, (2, 1, 8, 8), 5))) == 5


def test_times_are_looked_at_where_a_person_hands_them_in():
    diffusion = DenoiseDiffusion(nn.Identity(), n_steps=10).to(META)
    with pytest.raises(RuntimeError, match=r"meta tensors|Tensor\.item"):
        diffusion.q_sample(torch.zeros(2, 3, device=META), torch.zeros(2, dtype=torch.long, device=META))


def test_a_trusting_model_is_the_same_model():
    diffusion = DenoiseDiffusion(nn.Linear(3, 3), n_steps=10)
    other, t = diffusion.trusting(), torch.tensor([10])
    assert other.eps_model is diffusion.eps_model
    assert other.alpha_bar is diffusion.alpha_bar
    with pytest.raises(ValueError, match=r"t must lie in 0 \.\. 9; got 10 \.\. 10"):
        diffusion.q_sample(torch.zeros(1, 3), t)
    with pytest.raises(ValueError, match="t must hold one time for each of the 2 elements"):
        other.q_sample(torch.zeros(2, 3), t)


def test_average_is_that_of_torch_to_the_last_bit():
    torch.manual_seed(0)
    model = nn.Linear(40, 30)
    ours, theirs = (AveragedModel(model, multi_avg_fn=average_with_warmup(0.9)) for _ in range(2))
    for _ in range(20):
        with torch.no_grad():
            model.weight.add_(torch.randn_like(model.weight))
        update_average(ours, model)
        theirs.update_parameters(model)
        assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


@pytest.mark.parametrize("method", ["loss", "q_sample", "denoise", "p_sample"])
def test_compiles_as_one_graph(method):
    torch._dynamo.reset()
    model = UNet(1, 8, (1, 2), (False, True), 1, n_groups=4, dropout=0.0)
    diffusion = DenoiseDiffusion(model, n_steps=10, sigma="posterior")
    x, t = torch.rand(2, 1, 8, 8), torch.tensor([0, 9])
    arguments = (x, torch.ones_like(x), t) if method == "loss" else (x, t)
    call = getattr(diffusion, method)
    torch.manual_seed(1)
    expected = call(*arguments)
    torch.manual_seed(1)
    torch.testing.assert_close(torch.compile(call, fullgraph=True, backend="eager")(*arguments), expected)

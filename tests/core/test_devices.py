"""Nothing on a device is float64, which Apple's GPUs lack; what is there stays there until it is asked onto the CPU."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddpm_lesson import DenoiseDiffusion, load_images
from ddpm_lesson.bound import variational_bound
from ddpm_lesson.evaluate import Classifier, bits_per_dim, evaluate, features_of_classifier, rate_distortion
from ddpm_lesson.sample import ddim_steps, ddpm_steps, inpaint_steps, interpolate_steps
from ddpm_lesson.train import TrainState, train
from ddpm_lesson.unet import UNet
from tests.tiny import TINY

TOO_WIDE = (torch.float64, torch.complex128)
ONTO_THE_CPU = {Tensor.cpu, Tensor.numpy, Tensor.tolist, Tensor.__array__}


class OnDevice(Tensor):
    """A tensor on a device without float64, played on the CPU: what is computed from it is there too."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in ONTO_THE_CPU:
            return function(args[0].as_subclass(Tensor))
        result = super().__torch_function__(function, types, args, kwargs or {})
        for x in tree_leaves(result):
            if isinstance(x, cls) and x.dtype in TOO_WIDE:
                raise TypeError(f"{function.__name__}: the device has no {x.dtype}")
        return result


def model(device="cpu"):
    torch.manual_seed(0)
    network = UNet(1, n_channels=8, ch_mults=(1, 2), is_attn=(False, True), n_blocks=1, n_groups=4)
    return DenoiseDiffusion(network, 10, device)


def last(steps):
    *_, step = steps
    return step.x0_hat


USES = {
    "loss": lambda d, x: d.loss(x),
    "ddpm": lambda d, x: last(ddpm_steps(d, x.shape, start=x)),
    "ddpm, fewer": lambda d, x: last(ddpm_steps(d, x.shape, n_steps=3, start=x)),
    "ddim": lambda d, x: last(ddim_steps(d, x.shape, 3, 0.5, start=x)),
    "inpaint": lambda d, x: last(inpaint_steps(d, x, x > 0, n_steps=3, resample=2)),
    "interpolate": lambda d, x: last(interpolate_steps(d, (x[0], x[1]), 5, torch.tensor([0.0, 0.5]), n_steps=3)),
    "bound": lambda d, x: variational_bound(d, x).total,
    "bits": lambda d, x: torch.tensor(bits_per_dim(d, x).total),
    "bits, estimated": lambda d, x: torch.tensor(bits_per_dim(d, x, 3).total),
    "rate and distortion": lambda d, x: rate_distortion(d, x).bits,
}


def test_the_device_of_these_tests_refuses_float64():
    x = torch.zeros(2).as_subclass(OnDevice)
    with pytest.raises(TypeError, match=r"the device has no torch\.float64"):
        (x + 1).double()
    assert x.cpu().double().dtype == torch.float64


@pytest.mark.parametrize("use", USES)
def test_no_use_of_a_model_needs_float64_on_its_device(use):
    x = (torch.rand(4, 1, 8, 8) * 2 - 1).as_subclass(OnDevice)
    assert USES[use](model(), x).isfinite().all()


class NoFloat64(TorchDispatchMode):
    """Refuse float64 on a GPU that is there."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.device.type != "cpu" and x.dtype in TOO_WIDE:
                raise TypeError(f"{function}: the device has no {x.dtype}")
        return result


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
@pytest.mark.parametrize("use", USES)
def test_every_use_of_a_model_stays_on_a_gpu_and_below_float64(use):
    diffusion = model("cuda")
    x = torch.rand(4, 1, 8, 8, device="cuda") * 2 - 1
    with NoFloat64():
        assert USES[use](diffusion, x).isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_training_and_evaluation_on_a_gpu_need_no_float64_there():
    training, held_out = load_images("digits"), load_images("digits", "test")
    classifier = Classifier((1, 8, 8), n_features=8).cuda()
    with NoFloat64():
        state = TrainState(TINY, training.shape, "cuda")
        assert all(step.loss.isfinite() for step in train(state, training))
        features = features_of_classifier(classifier, "mine")
        images = training[:], held_out[:]
        found = evaluate(
            state.averaged(), images[1], *images, features=features, classifier=classifier, n_bits=4, n_times=2
        )
    assert found.bits.total > 0

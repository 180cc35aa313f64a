"""How much memory training and sampling take: one image is measured, the rest is counted."""

import json
import weakref
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ddpm_lesson.data import DATASETS
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.sample import ddim_steps
from ddpm_lesson.train.loop import build_diffusion
from ddpm_lesson.train.presets import TrainConfig

ADAM_MOMENTS = 2  # the running means of the gradient and of its square


class MemoryNeeds(NamedTuple):
    """What a network needs, in bytes of float32. Only the last two grow with the batch."""

    weights: int
    kept: int  # activations of one image that wait for the backward pass
    sampled: int  # the most that sampling holds at once for one image, besides the weights

    def training(self, batch_size: int) -> dict[str, int]:
        """The parts that are held when the backward pass is about to begin; their sum is a safe estimate of the peak.

        Gradients are counted in full although they fill up only while the activations are given back.

        Args:
            batch_size: images that pass through the network at once.
        """
        return {
            "weights": self.weights,
            "gradients": self.weights,
            "Adam's moments": ADAM_MOMENTS * self.weights,
            "average (EMA)": self.weights,
            "activations": self.kept * batch_size,
        }

    def sampling(self, batch_size: int) -> int:
        """The peak while that many images are drawn."""
        return self.weights + self.sampled * batch_size


def measure_memory(config: TrainConfig) -> MemoryNeeds:
    """Build the network of ``config`` on the CPU, and train and sample one image.

    Not counted: what a GPU's driver and its convolutions want besides, and what is lost between tensors, together half
    a gigabyte to two.

    Args:
        config: what would be trained; its ``data`` must be a known data set.
    """
    diffusion = build_diffusion(config, DATASETS[config.data][0])
    weights = sum(p.numel() * p.element_size() for p in diffusion.eps_model.parameters())
    shape = (1, *DATASETS[config.data])
    with PeakMemory() as sampling:
        for _ in ddim_steps(diffusion, shape, n_steps=2):
            pass
    return MemoryNeeds(weights, saved_for_backward(diffusion.eps_model, torch.zeros(shape)), sampling.peak)


def saved_for_backward(eps_model: nn.Module, x0: Tensor) -> int:
    """Bytes that autograd keeps between the forward and the backward pass of the loss; weights do not count.

    Args:
        eps_model: the noise predictor, in training mode if dropout is to count.
        x0: a batch, (B, C, H, W).
    """
    weights = {p.untyped_storage().data_ptr() for p in eps_model.parameters()}
    kept: dict[int, int] = {}  # address -> bytes; two tensors may share their memory

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        eps = torch.randn_like(x0)
        loss = F.mse_loss(eps_model(x0 + eps, torch.zeros(len(x0), dtype=torch.long, device=x0.device)), eps)
    del loss  # it held what was kept until here, so that no address was used twice
    return sum(kept.values())


class PeakMemory(TorchDispatchMode):
    """Inside the ``with`` block, counts the bytes of the tensors that are made there and still held.

    Attributes:
        now: bytes held at this moment.
        peak: the most that were held at once.
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        old = {x.untyped_storage().data_ptr() for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)}
        result = function(*args, **(kwargs or {}))
        for x in tree_iter(result):
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in old:
                self.add(x.untyped_storage())
        return result

    def add(self, storage: torch.UntypedStorage) -> None:
        """Count a new storage until it is given back."""
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.remove, size)

    def remove(self, size: int) -> None:
        """A storage was given back."""
        self.now -= size


def measured_memory() -> dict[str, MemoryNeeds]:
    """What ``python -m tests.benchmarks.training_memory`` measured for the presets, as it comes with the lesson."""
    stored = json.loads((assets_folder() / "training" / "memory.json").read_text())
    return {name: MemoryNeeds(**sizes) for name, sizes in stored["presets"].items()}

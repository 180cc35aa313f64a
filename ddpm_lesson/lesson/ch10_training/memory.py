"""How much memory training and sampling take: one image is measured, the rest is counted."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.data import DATASETS
from ddpm_lesson.lesson.kit.stored import stored
from ddpm_lesson.train import TrainConfig, build_diffusion


class MemoryNeeds(NamedTuple):
    """What a network needs, in bytes of float32. Only the last two grow with the batch."""

    weights: int
    kept: int  # activations of one image that wait for the backward pass
    sampled: int = 0  # the most that sampling holds at once for one image, besides the weights, where it was measured

    def training(self, batch_size: int) -> dict[str, int]:
        """What is held when the backward pass of a batch begins, the gradients in full: no less than the peak."""
        return {
            "weights": self.weights,
            "gradients": self.weights,
            "Adam's moments": 2 * self.weights,  # the running means of the gradient and of its square
            "average (EMA)": self.weights,
            "activations": self.kept * batch_size,
        }

    def sampling(self, batch_size: int) -> int:
        """The peak while that many images are drawn."""
        return self.weights + self.sampled * batch_size


def measure_memory(config: TrainConfig) -> MemoryNeeds:
    """Build the network of ``config`` on the CPU, and pass one image through it as in training.

    Not counted: what a GPU's driver and its convolutions want besides, and what is lost between tensors, together half
    a gigabyte to two.
    """
    shape = DATASETS[config.data]
    network = build_diffusion(config, shape[0]).eps_model
    return MemoryNeeds(sum(p.nbytes for p in network.parameters()), saved_for_backward(network, torch.zeros(1, *shape)))


def saved_for_backward(eps_model: nn.Module, x0: Tensor) -> int:
    """Bytes that autograd keeps between the forward and the backward pass of the loss for a batch x0 (B, C, H, W).

    Weights do not count; dropout does in training mode.
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


def measured_memory() -> dict[str, MemoryNeeds]:
    """What ``python -m tests.benchmarks.training_memory`` measured for the presets, as it comes with the lesson."""
    return {name: MemoryNeeds(**sizes) for name, sizes in stored("training/memory.json")["presets"].items()}

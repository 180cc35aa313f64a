"""A short training: some steps of Adam, to see whether something learns."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def steps_of_adam(model: nn.Module, loss: Callable[[], Tensor], n_steps: int, lr: float) -> list[float]:
    """Train a model in place; ``loss()`` draws a batch and computes its loss anew in each step. Returns the losses."""
    optimizer, losses = torch.optim.Adam(model.parameters(), lr), []
    for _ in range(n_steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    return losses


def without_gradient(model: nn.Module) -> str:
    """A sentence about the first weight that the last backward pass did not reach; nothing if there is none."""
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    return f"`{idle[0]}` gets no gradient: what it belongs to has no part in the answer." if idle else ""

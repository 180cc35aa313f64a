"""A short training learns what it can, and tells whom no gradient reached."""

import torch
from torch import nn

from ddpm_lesson.lesson.kit.adam import steps_of_adam, without_gradient


class Two(nn.Module):
    """``used * x``; a second weight has no part in it."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = (nn.Parameter(torch.zeros(())) for _ in range(2))


def test_steps_are_those_of_torchs_adam():
    model, twin = Two(), Two()
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.1)
    wanted = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (twin.used - 3).square()
        loss.backward()
        optimizer.step()
        wanted.append(loss.item())
    assert steps_of_adam(model, lambda: (model.used - 3).square(), 5, lr=0.1) == wanted
    assert torch.equal(model.used, twin.used)


def test_the_weight_that_no_gradient_reaches_is_named():
    model = Two()
    steps_of_adam(model, lambda: (model.used - 3).square(), 2, lr=0.1)
    assert "`idle` gets no gradient" in without_gradient(model)
    steps_of_adam(model, lambda: (model.used - model.idle - 3).square(), 1, lr=0.1)
    assert without_gradient(model) == ""

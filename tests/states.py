"""What two training runs must share to be the same."""

import torch
from torch import Tensor

from ddpm_lesson.train import TrainState


def everything(state: TrainState) -> dict[str, Tensor]:
    """Weights, their average, and Adam's moments."""
    moments = state.optimizer.state_dict()["state"]
    return {
        **{f"model.{k}": v for k, v in state.diffusion.eps_model.state_dict().items()},
        **{f"ema.{k}": v for k, v in state.ema.state_dict().items()},
        **{f"adam.{i}.{k}": v for i, entry in moments.items() for k, v in entry.items()},
    }


def assert_same_state(a: TrainState, b: TrainState) -> None:
    assert (a.step, a.scaler) == (b.step, b.scaler)
    left, right = everything(a), everything(b)
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []

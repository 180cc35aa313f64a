"""The smallest training run worth the name, for tests that need one, and the same in float64.

Two ways to one gradient differ by its rounding. Adam divides a gradient by its own size, which may be that of the
rounding: what float32 leaves of it moves weights by a whole step, what float64 leaves by nothing.
"""

from torch import Tensor

from ddpm_lesson.data import ImageDataset
from ddpm_lesson.train import TrainConfig, TrainState

TINY = TrainConfig(
    data="digits",
    n_channels=8,
    ch_mults=(1, 2),
    is_attn=(False, False),
    n_blocks=1,
    n_groups=4,
    dropout=0.1,
    n_steps=20,
    train_steps=12,
    batch_size=16,
    warmup_steps=3,
    save_every=4,
    sample_every=100,
    n_samples=4,
    sample_steps=5,
)


class Float64Images(ImageDataset):
    """A data set whose images come in float64."""

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        return super().__getitem__(index).double()


def start_in_float64(config: TrainConfig) -> TrainState:
    """The state before the first step, for digits."""
    state = TrainState(config, (1, 8, 8), "cpu")
    state.diffusion.double()
    state.ema.module.double()
    return state

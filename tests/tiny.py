"""The smallest training run worth the name, for tests that need one."""

from ddpm_lesson.train import TrainConfig

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

"""Probes: where does a pixel, or a gradient, go?"""

import torch
from torch import nn

from ddpm_lesson.doctor import Finding, silent_weights
from ddpm_lesson.lesson.ch14_bug_museum.probes.subjects import randn, short, small_unet, within
from ddpm_lesson.lesson.kit.probe import fresh_generator
from ddpm_lesson.sample import steps
from ddpm_lesson.unet import blocks, model

PAPER = (3, 128, (1, 2, 2, 2), (False, True, False, False))  # its network for CIFAR-10
PAPER_SIZE = 35_746_307


def gradient_trace(seed: int = 0) -> Finding:
    """Does the loss reach every weight, by every way?"""
    network, x0 = small_unet(seed), randn(seed, 4, 1, 8, 8)
    silent = silent_weights(short(network), x0, randn(seed + 1, 4, 1, 8, 8))
    if silent:
        return Finding(False, f"no gradient reaches {len(silent)} weights, such as {silent[0]}")
    dead = dead_skips(network)
    return Finding(not dead, f"{dead} skip connections carry nothing" if dead else "the loss reaches every weight")


def dead_skips(network: model.UNet) -> int:
    """How many blocks of the way up are deaf to the feature map that was kept for them."""
    deaf = 0
    for block in network.up:
        if isinstance(block, blocks.UpBlock):
            width = block.res.norm1.num_channels
            skip = torch.randn(1, width // 2, 4, 4, generator=fresh_generator(9))
            x, t_emb = torch.ones(1, width - width // 2, 4, 4), torch.ones(1, 32)
            with torch.no_grad():
                deaf += torch.equal(block(x, skip, t_emb), block(x, -skip, t_emb))
    return deaf


@torch.no_grad()
def pixels_keep_places(seed: int = 0) -> Finding:
    """Attention has no sense of place: does it give shuffled pixels the same answer, shuffled?"""
    block, x = small_unet(seed).middle.attn, randn(seed, 3, 16, 4, 4)
    order = torch.randperm(16, generator=fresh_generator(seed))
    shuffled = x.flatten(2)[..., order].view(x.shape)
    off = float((block(shuffled) - block(x).flatten(2)[..., order].view(x.shape)).abs().max())
    return within(off, f"shuffled pixels change the answer of attention by {off:.2g}", "pixels keep their places")


@torch.no_grad()
def images_keep_apart(seed: int = 0) -> Finding:
    """Does an image get the same answer alone as in a batch?"""
    network, x, t = small_unet(seed), randn(seed, 3, 1, 8, 8), torch.tensor([0, 500, 999])
    alone = torch.cat([network(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    off = float((network(x, t) - alone).abs().max() / alone.std())
    return within(
        off, f"neighbours in the batch change the answer by {off:.2g}", "an image is answered alone as in a batch"
    )


@torch.no_grad()
def flat_stays_flat(seed: int = 0) -> Finding:
    """Is a flat feature map still flat, away from the edge, when it is made larger?"""
    network = model.UNet(1, 8, (1, 2), (False, False), 1, n_groups=4)
    up = next(module for module in network.up if isinstance(module, blocks.Upsample))
    large = up(torch.ones(1, 16, 6, 6))[..., 2:-2, 2:-2]
    spread = float(large.std((2, 3)).max() / large.std())
    return within(spread, f"a flat map varies by {spread:.2g} of its size after upsampling", "a flat map stays flat")


def size_of_network(seed: int = 0) -> Finding:
    """Has the paper's network its 35,746,307 parameters, and do settings arrive?"""
    with torch.device("meta"):
        count = sum(p.numel() for p in model.UNet(*PAPER).parameters())
    if count != PAPER_SIZE:
        return Finding(False, f"the paper's network has {count:,} parameters, for {PAPER_SIZE:,}")
    groups = {m.num_groups for m in small_unet(seed).modules() if isinstance(m, nn.GroupNorm)}
    return Finding(groups == {4}, f"{PAPER_SIZE:,} parameters; asked for 4 groups, norms have {sorted(groups)}")


def asked_twice(seed: int = 0) -> Finding:
    """Does the same seed give the same samples from a model that is being trained?"""
    d = short(small_unet(seed).train())
    one, other = (steps.sample(d, (2, 1, 8, 8), 4, fresh_generator(seed)) for _ in range(2))
    off = float((one - other).abs().max())
    return Finding(off == 0, f"the same seed gives samples that differ by {off:.2g}")

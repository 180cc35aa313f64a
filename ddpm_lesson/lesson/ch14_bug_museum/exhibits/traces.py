"""Exhibits: pixels and gradients that go astray."""

from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import TRACE, Exhibit, in_room

TRACES = in_room(
    TRACE,
    Exhibit(
        "reshape without transpose",
        "ehoogeboom/multinomial_diffusion#1",
        "It trains, and samples have a weave of horizontal lines.",
        "(B, H*W, C) is read as (B, C, H, W): numbers of one pixel are strewn over many.",
        "Transpose first.",
        "unet.blocks:AttentionBlock.forward",
        ("h.transpose(1, 2).reshape(x.shape)", "h.reshape(x.shape)"),
        ("pixels keep their places",),
    ),
    Exhibit(
        "split along the batch",
        "huggingface/diffusers#7369",
        "A sample changes with its neighbours in the batch.",
        "Queries, keys and values are cut out of the batch, and not out of the channels.",
        "chunk(3, dim=-1).",
        "unet.blocks:AttentionBlock.qkv",
        ("qkv.transpose(1, 2).chunk(3, dim=-1)", "qkv.transpose(1, 2).reshape(3, B, self.n_heads, H * W, self.d_k)"),
        ("pixels keep their places", "images keep apart"),
    ),
    Exhibit(
        "a setting that goes nowhere",
        "lucidrains/denoising-diffusion-pytorch#11",
        "Changing `groups` changes nothing.",
        "The layer is made with a number of its own.",
        "Hand the setting on, and test that it arrives.",
        "unet.blocks:group_norm",
        ("nn.GroupNorm(n_groups, n_channels", "nn.GroupNorm(2, n_channels"),
        ("size of the network",),
    ),
    Exhibit(
        "checkerboard",
        "lucidrains/imagen-pytorch#72",
        "A fine chequered pattern, strongest early in training.",
        "A transposed convolution gives neighbouring pixels different weights.",
        "Repeat the pixels, then convolve.",
        "unet.model:UNet.__init__",
        (
            'upsample: str = "nearest"',
            'upsample: str = "transposed"',
            '"upsample": upsample',
            '"upsample": "transposed"',
        ),
        ("flat stays flat", "size of the network"),
    ),
)

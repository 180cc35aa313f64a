"""Exhibits: the seven slips of the source document."""

from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import DOCUMENT, SLIPS, Exhibit, in_room

SEVEN_SLIPS = in_room(
    SLIPS,
    Exhibit(
        "the bound without its ends",
        DOCUMENT,
        "Bits per dimension are too good to be true.",
        "The sum runs over t = 2 .. T only: the decoder's term L_0, the largest of all, is left out.",
        "L_T + sum of all L_t, L_0 among them. In training the two may be dropped, in a bound not.",
        "bound:variational_bound",
        ("L_T + L_t.sum(1)", "L_t[:, 1:].sum(1)"),
        ("bits",),
    ),
    Exhibit(
        "alpha for alpha_bar in the posterior",
        DOCUMENT,
        "Hard to see: half-way images have too much contrast, and the last steps mend most of it.",
        "The posterior mean has sqrt(alpha_{t-1}) where sqrt(alpha_bar_{t-1}) belongs.",
        "alpha_bar_prev.sqrt() * beta / one_minus_alpha_bar in front of x0.",
        "diffusion:DenoiseDiffusion.q_posterior",
        ("alpha_bar_prev.sqrt() * beta", "self._at(self.alpha, (t - 1).clamp(min=0), xt).sqrt() * beta"),
        ("posterior", "one step of DDPM", "last step"),
    ),
    Exhibit(
        "the mean over sqrt(alpha_bar)",
        DOCUMENT,
        "Samples explode within a few steps: every pixel ends at black or white.",
        "The mean is 1/sqrt(alpha_bar_t) (x_t - ...): every step divides by the whole way instead of its own stretch.",
        "1/sqrt(alpha_t).",
        "diffusion:DenoiseDiffusion.p_sample",
        (
            "mean, _ = self.q_posterior(x0_hat, xt, t)",
            "mean = (xt - self._at(self.beta / self.one_minus_alpha_bar.sqrt(), t, xt) "
            "* self.predict_eps(xt, t, x0_hat)) / self._at(self.alpha_bar, t, xt).sqrt()",
        ),
        ("one step of DDPM", "DDPM samples"),
    ),
    Exhibit(
        "noise at the last step",
        DOCUMENT,
        "Samples have a fine grain that no amount of training removes.",
        "The step to x_0 adds noise like every other step.",
        "No noise at t = 0.",
        "diffusion:DenoiseDiffusion.p_sample",
        ("(t > 0).view(sigma.shape)", "(t >= 0).view(sigma.shape)"),
        ("last step",),
    ),
    Exhibit(
        "the norm that is never applied",
        DOCUMENT,
        "Nothing to see at all; two rows of weights never change.",
        "The attention block makes a GroupNorm and does not call it.",
        "Call it on the input, before queries, keys and values.",
        "unet.blocks:AttentionBlock.qkv",
        ("self.norm(x).flatten(2)", "x.flatten(2)"),
        ("gradient trace",),
    ),
    Exhibit(
        "multipliers that compound",
        DOCUMENT,
        "Training takes many times as long and much more memory than the paper says.",
        "Each level multiplies the width of the level above, and not the base width.",
        "n_channels * m, for every level.",
        "unet.model:UNet.__init__",
        (
            "[n_channels, *(n_channels * m for m in ch_mults)]",
            "[n_channels]\n    for m in ch_mults:\n        widths.append(widths[-1] * m)",
        ),
        ("size of the network",),
    ),
    Exhibit(
        "dropout while sampling",
        DOCUMENT,
        "Samples are blotchy, and the same seed gives others every time.",
        "The network is still in training mode while it samples.",
        "eval() for sampling, or a twin with dropout off.",
        "sample.steps:eval_mode",
        ('{"training": False}', "{}"),
        ("asked twice",),
    ),
)

"""The exhibits: what a person sees, what it was, and the words of the package's source that make it so."""

import contextlib
from dataclasses import dataclass

from ddpm_lesson.lesson.ch14_bug_museum.infection import diff_of, replaced
from ddpm_lesson.lesson.kit.source import Source

DOCUMENT = "the source document of this lesson"
PLANTED = "nobody: planted for the clinic"


@dataclass(frozen=True)
class Exhibit:
    """A bug that somebody had, as an edit of the package.

    Rendered in a notebook, it is a card.
    """

    name: str
    room: str
    source: str  # owner/repository#number of a public thread, or the document
    symptom: str  # what a person sees
    cause: str
    fix: str
    target: str  # module:function that is edited, such as "diffusion:DenoiseDiffusion.loss"
    infect: tuple[str, ...]  # old words, new words, old, new, ...
    seen_by: tuple[str, ...]  # the probes made to see it

    def infected(self) -> contextlib.AbstractContextManager[None]:
        """The package with this bug in it, for as long as the ``with`` block lasts."""
        return replaced(self.target, self.infect)

    @property
    def diff(self) -> Source:
        """The edit, from the package's own source."""
        return diff_of(self.target, self.infect)

    @property
    def gone(self) -> str:
        """How to check that it is gone."""
        return f"Gone when content again: {', '.join(self.seen_by)}."

    def _repr_markdown_(self) -> str:
        where = f"[{self.source}](https://github.com/{self.source.replace('#', '/issues/')})"
        origin = where if "#" in self.source else self.source
        return (
            f"**{self.name}** ({self.room}; after {origin})\n\n*Symptom.* {self.symptom}\n\n*Cause.* {self.cause}\n\n"
            f"*Fix.* {self.fix}\n\n*{self.gone}*\n\n{self.diff._repr_markdown_()}"
        )


SLIPS, RANGE, SCHEDULE, TIME = "the seven slips", "range histogram", "schedule table", "vary t at fixed x"
SAMPLER, TRACE, STATE = "analytic sampler oracle", "pixel and gradient trace", "state"
ROOMS = (SLIPS, RANGE, SCHEDULE, TIME, SAMPLER, TRACE, STATE)

SEVEN_SLIPS = (
    Exhibit(
        "the bound without its ends",
        SLIPS,
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
        SLIPS,
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
        SLIPS,
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
        SLIPS,
        DOCUMENT,
        "Samples have a fine grain that no amount of training removes.",
        "The step to x_0 adds noise like every other step (TeaPearce/Conditional_Diffusion_MNIST#10 as well).",
        "No noise at t = 0.",
        "diffusion:DenoiseDiffusion.p_sample",
        ("(t > 0).view(sigma.shape)", "(t >= 0).view(sigma.shape)"),
        ("last step",),
    ),
    Exhibit(
        "the norm that is never applied",
        SLIPS,
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
        SLIPS,
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
        SLIPS,
        DOCUMENT,
        "Samples are blotchy, and the same seed gives others every time.",
        "The network is still in training mode while it samples.",
        "eval() for sampling, or a twin with dropout off.",
        "sample.steps:eval_mode",
        ('{"training": False}', "{}"),
        ("asked twice",),
    ),
)

RANGES = (
    Exhibit(
        "data in [0, 1]",
        RANGE,
        "labmlai/annotated_deep_learning_paper_implementations#241",
        "Samples are grey and flat; black is never quite black.",
        "Bytes are divided by 255 and not shifted: the data fills half of the range that estimates are clipped to.",
        "x / 127.5 - 1.",
        "data:from_bytes",
        ("div_(127.5).sub_(1)", "div_(255)"),
        ("range of the data", "shipped weights"),
    ),
    Exhibit(
        "data in 0 .. 255",
        RANGE,
        "lucidrains/denoising-diffusion-pytorch#20",
        "The loss is stuck near 0.8, and samples show nothing.",
        "Bytes go in as they are: no schedule drowns a signal of 255.",
        "x / 127.5 - 1.",
        "data:from_bytes",
        (".div_(127.5).sub_(1)", ""),
        ("range of the data", "shipped weights"),
    ),
    Exhibit(
        "no way back to bytes",
        RANGE,
        "LuChengTHU/dpm-solver#2",
        "The picture of a sample looks like noise with black holes.",
        "Values in [-1, 1] are shown as if they were in [0, 1]: all that is below 0 turns black.",
        "(x + 1) / 2 before they become bytes.",
        "data:to_bytes",
        ("((images.clamp(-1, 1) + 1) * 127.5)", "(images.clamp(0, 1) * 255)"),
        ("way back to bytes",),
    ),
    Exhibit(
        "estimates that nobody clips",
        RANGE,
        DOCUMENT,
        "Some samples drift away into solid colours, others are fine.",
        "At large t a small error of eps is a huge one of x0, and it is carried on.",
        "Clip x0_hat to [-1, 1], where the data lives.",
        "diffusion:DenoiseDiffusion.denoise",
        ("x0_hat.clamp(-self.clip_x0, self.clip_x0) if self.clip_x0 else x0_hat", "x0_hat"),
        ("range of the estimate", "DDIM against its formula"),
    ),
    Exhibit(
        "brought to [0, 1] twice",
        RANGE,
        "mlcommons/training#721",
        "Samples are right in shape and washed out, as under fog.",
        "The sampler scales its result to [0, 1], and so does what draws it.",
        "One place scales, at the very end.",
        "sample.steps:final_samples",
        (".x0_hat", ".x0_hat / 2 + 0.5"),
        ("DDPM samples", "DDIM samples"),
    ),
)

SCHEDULES = (
    Exhibit(
        "alpha_bar_prev padded on the wrong side",
        SCHEDULE,
        "lucidrains/denoising-diffusion-pytorch#18",
        "The loss is as always; samples come out a touch pale.",
        "The table is shifted the other way: it holds the next alpha_bar, and not the one before.",
        "A 1 in front, the last entry off.",
        "schedule:NoiseSchedule.__init__",
        ("torch.cat((beta.new_ones(1), alpha_bar[:-1]))", "torch.cat((alpha_bar[1:], beta.new_zeros(1)))"),
        ("schedule table", "posterior", "one step of DDPM", "last step"),
    ),
    Exhibit(
        "the product of beta",
        SCHEDULE,
        "LuChengTHU/dpm-solver#13",
        "The loss falls to nothing at once, and sampling divides by zero.",
        "alpha_bar is the product of beta: zero after a few steps, so x_t is noise alone, and easily guessed.",
        "The product of 1 - beta.",
        "schedule:NoiseSchedule.__init__",
        ("alpha.cumprod(0)", "beta.cumprod(0)"),
        (
            "schedule table",
            "end of the chain",
            "forward process",
            "posterior",
            "one step of DDPM",
            "DDIM against its formula",
            "DDPM samples",
            "DDIM samples",
            "bits",
            "shipped weights",
        ),
    ),
    Exhibit(
        "a chain that ends too early",
        SCHEDULE,
        "IDEALLab/EngiOpt#65",
        "Samples are dim and all alike: the mean of the data shines through.",
        "alpha_bar_T is 0.08: the network never saw the pure noise that sampling starts from.",
        "Check alpha_bar_T; with fewer steps, larger beta.",
        "schedule:NoiseSchedule.linear",
        ("beta_end: float = 0.02", "beta_end: float = 0.005"),
        ("end of the chain",),
    ),
    Exhibit(
        "alpha_bar before the first step is not 1",
        SCHEDULE,
        "lllyasviel/ControlNet#587",
        "Samples keep a thin veil of noise.",
        "alpha_bar_prev[0] repeats alpha_bar[0]: the last step stops one short of the data.",
        "alpha_bar_prev[0] = 1.",
        "schedule:NoiseSchedule.__init__",
        ("torch.cat((beta.new_ones(1), ", "torch.cat((alpha_bar[:1], "),
        ("schedule table", "posterior", "last step"),
    ),
    Exhibit(
        "no signal at all at the end",
        SCHEDULE,
        "huggingface/diffusers#3851",
        "Without clipping, NaN in the very first step; with it, that step is the toss of a coin.",
        "alpha_bar_T is exactly 0: from eps alone, nobody can tell x0 there.",
        "A network that predicts eps needs alpha_bar_T > 0; otherwise predict v or x0.",
        "diffusion:DenoiseDiffusion.__init__",
        ("check_prediction(prediction, schedule)", "schedule = schedule.zero_terminal_snr()"),
        ("range of the estimate", "posterior", "one step of DDPM", "DDIM against its formula", "bits"),
    ),
    Exhibit(
        "variance for standard deviation",
        SCHEDULE,
        "labmlai/annotated_deep_learning_paper_implementations#152",
        "The loss looks fine, samples stay noisy: noise in training was weaker than the sampler believes.",
        "Noise is scaled by 1 - alpha_bar, without the root.",
        "sqrt(1 - alpha_bar) eps.",
        "diffusion:DenoiseDiffusion.q_sample",
        ("var.sqrt() * eps", "var * eps"),
        ("forward process", "shipped weights"),
    ),
)

TIMES = (
    Exhibit(
        "the sampler's first time is not the last",
        TIME,
        "openai/improved-diffusion#44",
        "With few steps, samples are a little dull; with all of them, nothing is wrong.",
        "The spaced times end below T - 1: sampling starts from noise that is said to be less noisy than it is.",
        "T - 1 is the first time to visit.",
        "sample.steps:spaced_times",
        ("round(T - i * T / n_steps) - 1", "round(T - (i + 1) * T / n_steps)"),
        ("times of the sampler",),
    ),
    Exhibit(
        "a time beyond the end",
        TIME,
        "CompVis/latent-diffusion#136",
        "Sampling stops with an error, though only for some numbers of steps.",
        "Times count from 1 where tables count from 0.",
        "Index t is the paper's step t + 1.",
        "sample.steps:spaced_times",
        ("round(T - i * T / n_steps) - 1", "round(T - i * T / n_steps)"),
        ("times of the sampler", "what the network is told", "DDIM against its formula", "DDIM samples", "asked twice"),
    ),
    Exhibit(
        "the way back in the wrong order",
        TIME,
        "nathan-barry/tiny-diffusion#2",
        "Samples are noise, whatever the loss.",
        "The times rise: the sampler walks from the data's end to the noise's.",
        "From T - 1 down to 0.",
        "sample.steps:spaced_times",
        ("in range(n_steps)", "in reversed(range(n_steps))"),
        ("times of the sampler", "what the network is told", "DDIM samples"),
    ),
    Exhibit(
        "the step's number told as its time",
        TIME,
        "Stability-AI/stablediffusion#226",
        "All steps give good samples; fewer steps give grey ones.",
        "On a shorter chain the network is told i, and not the t that it was trained with.",
        "times[i].",
        "diffusion:AtTimes.forward",
        ("self.times[t]", "t"),
        ("what the network is told",),
    ),
    Exhibit(
        "an embedding of t in [0, 1]",
        TIME,
        "ArchiMickey/Just-a-DiT#9",
        "Training goes on and on, and the network treats all times nearly alike.",
        "t / T goes into sinusoids made for whole numbers: neighbouring times get the same vector.",
        "Multiply by T again, or take higher frequencies.",
        "unet.blocks:TimeEmbedding.sinusoids",
        ("t.float()[:, None]", "t.float()[:, None] / 1000"),
        ("embedding", "shipped weights"),
    ),
    Exhibit(
        "sine and cosine in each other's place",
        TIME,
        "flashinfer-ai/flashinfer#3819",
        "Weights from elsewhere load without complaint and draw nothing; trained anew, all is well.",
        "Half of the embedding stands in the place of the other half.",
        "Sines first, as in the code the weights come from.",
        "unet.blocks:TimeEmbedding.sinusoids",
        ("angle.sin(), angle.cos()", "angle.cos(), angle.sin()"),
        ("embedding", "shipped weights"),
    ),
    Exhibit(
        "t for t - 1",
        TIME,
        "jychoi118/ilvr_adm#13",
        "Nothing to see: samples are as good as ever.",
        "Training and sampling count t from different ends of a step.",
        "One convention, written down once.",
        "diffusion:DenoiseDiffusion.denoise",
        ("self.eps_model(xt, t)", "self.eps_model(xt, (t - 1).clamp(min=0))"),
        ("what the network is told",),
    ),
    Exhibit(
        "the size of the batch told as time",
        TIME,
        "Stability-AI/StableCascade#142",
        "Samples depend on how many you ask for.",
        "The tensor of times is filled with the length of the batch.",
        "torch.full((B,), t).",
        "sample.steps:walk",
        ("torch.full((len(xt),), t, ", "torch.full((len(xt),), min(len(xt), diffusion.n_steps - 1), "),
        ("what the network is told", "DDIM against its formula", "DDIM samples"),
    ),
    Exhibit(
        "the time before, by a formula",
        TIME,
        "huggingface/diffusers#9261",
        "Fine with 50 steps of 1000, off with 30.",
        "The earlier time is t - T // n, which is no time that the sampler visits unless n divides T.",
        "Take it from the list of times.",
        "sample.steps:ddim_steps",
        ("alpha_bar[t_prev]", "alpha_bar[max(t - diffusion.n_steps // len(times), 0)]"),
        ("DDIM against its formula",),
    ),
)

SAMPLERS = (
    Exhibit(
        "eps not computed anew after clipping",
        SAMPLER,
        "lucidrains/denoising-diffusion-pytorch#84",
        "DDIM with few steps: colours burn out; DDPM is fine.",
        "x0_hat is clipped, but the step goes on with the eps that belonged to the unclipped one.",
        "eps from the clipped x0_hat.",
        "sample.steps:ddim_steps",
        (
            "model.predict_eps(xt, torch.full((len(xt),), t, device=xt.device), x0_hat)",
            "model.eps_model(xt, torch.full((len(xt),), t, device=xt.device))",
        ),
        ("DDIM against its formula",),
    ),
    Exhibit(
        "DDIM with the alphas of the wrong time",
        SAMPLER,
        "lucidrains/denoising-diffusion-pytorch#83",
        "DDIM's samples are faint, DDPM's are not.",
        "x0_hat is scaled with alpha_bar of the time that is left, and not of the one that is reached.",
        "sqrt(alpha_bar_prev) x0_hat.",
        "sample.steps:ddim_step",
        ("return alpha_bar_prev**0.5", "return alpha_bar**0.5"),
        ("DDIM against its formula", "DDIM samples"),
    ),
    Exhibit(
        "x0 read as eps, or eps as x0",
        SAMPLER,
        "huggingface/diffusers#1486",
        "Samples are noise from a model that trained well.",
        "What the network says is taken for the image, and it is the noise.",
        "predict_x0(xt, t, eps).",
        "diffusion:DenoiseDiffusion.denoise",
        ("self.predict_x0(xt, t, output)", "output"),
        ("DDIM against its formula", "DDPM samples", "DDIM samples"),
    ),
)

TRACES = (
    Exhibit(
        "reshape without transpose",
        TRACE,
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
        TRACE,
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
        TRACE,
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
        TRACE,
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

STATES = (
    Exhibit(
        "an average that remembers the beginning",
        STATE,
        "openai/improved-diffusion#59",
        "The loss is low, and samples of the average are noise for thousands of steps.",
        "A decay of 0.9999 from the first step on: the random first weights fade over ten thousand steps.",
        "Warm the decay up.",
        "train.loop:average_with_warmup",
        ("d = min(decay, (1 + int(n)) / (10 + int(n)))", "d = decay"),
        ("memory of the average",),
    ),
    Exhibit(
        "an average that is not sampled",
        STATE,
        "ML-GSAI/EGSDE#9",
        "Samples are worse, and flicker more from step to step, than others report.",
        "Samples are drawn with the weights of the last step.",
        "Sample with the average.",
        "train.loop:TrainState.averaged",
        ("self.ema.module", "self.diffusion.eps_model"),
        ("which weights are sampled",),
    ),
    Exhibit(
        "the loss back at its start",
        STATE,
        "facebookresearch/DiT#35",
        "After a resumption the loss jumps to where it began.",
        "The weights are not restored, only all the rest.",
        "Restore all that training changes, and test that the next step is the same.",
        "checkpoint.training:restore",
        ('load_weights(state.diffusion.eps_model, saved.part("model"), saved.file)', "pass"),
        ("resumption",),
    ),
    Exhibit(
        "an average that is not restored",
        STATE,
        "Vchitect/Latte#55",
        "After a resumption the loss goes on as before, and samples are those of a beginner.",
        "The average starts anew from untrained weights.",
        "It is part of the state.",
        "checkpoint.training:restore",
        ('load_weights(state.ema.module, saved.part("ema"), saved.file)', "pass"),
        ("resumption",),
    ),
    Exhibit(
        "training goes on from the average",
        STATE,
        "harubaru/waifu-diffusion#31",
        "Every resumption gives the loss a small jolt.",
        "The weights to train are filled with their average; the optimiser's moments belong to others.",
        "Both are stored; each goes back to its place.",
        "checkpoint.training:restore",
        ('saved.part("model")', 'saved.part("ema")'),
        ("resumption",),
    ),
    Exhibit(
        "bits divided by the padded size",
        STATE,
        "openai/glow#81",
        "Bits per dimension beat every paper.",
        "Images are padded to 32 x 32, and the sum is divided by the padded number of values.",
        "Divide by the values that are predicted.",
        "bound:per_dimension",
        ("values.flatten(1).mean(1)", "values.flatten(1).sum(1) / (32 * 32)"),
        ("bits",),
    ),
)

EXHIBITS = (*SEVEN_SLIPS, *RANGES, *SCHEDULES, *TIMES, *SAMPLERS, *TRACES, *STATES)
HIDDEN = (  # of the clinic; no thread, and no word of them in the notebook
    Exhibit(
        "nobody tells the blocks the time",
        TIME,
        PLANTED,
        "Samples come out half done.",
        "The shift by the time embedding is not added.",
        "h + time_emb(...), in every residual block.",
        "unet.blocks:ResidualBlock.forward",
        ("h = h + self.time_emb(self.time_act(t_emb))[:, :, None, None]", "pass"),
        ("vary t", "gradient trace", "shipped weights"),
    ),
    Exhibit(
        "the loss asks for the image",
        SAMPLER,
        PLANTED,
        "The loss falls fast, and samples are noise.",
        "The network is trained to say x0 and read as if it said eps.",
        "The target is eps.",
        "diffusion:DenoiseDiffusion.loss",
        ("self.target(x0, eps, t)", "x0"),
        ("loss of a perfect guess", "shipped weights"),
    ),
    Exhibit(
        "skips that carry nothing",
        TRACE,
        PLANTED,
        "Samples are blurred, with no fine line.",
        "The feature maps of the way down are replaced by zeros.",
        "Concatenate what was kept.",
        "unet.blocks:UpBlock.forward",
        ("torch.cat((x, skip), dim=1)", "torch.cat((x, torch.zeros_like(skip)), dim=1)"),
        ("gradient trace", "shipped weights"),
    ),
)


def named(name: str) -> Exhibit:
    """The exhibit of this name; ValueError if there is none."""
    for exhibit in (*EXHIBITS, *HIDDEN):
        if exhibit.name == name:
            return exhibit
    raise ValueError(f"name must be that of an exhibit, such as {EXHIBITS[0].name!r}; got {name!r}")

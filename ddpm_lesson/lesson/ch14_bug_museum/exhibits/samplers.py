"""Exhibits: steps, losses and estimates that are not what the formula says."""

from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import SAMPLER, Exhibit, in_room

SAMPLERS = in_room(
    SAMPLER,
    Exhibit(
        "eps not computed anew after clipping",
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
        "huggingface/diffusers#1486",
        "Samples are noise from a model that trained well.",
        "What the network says is taken for the image, and it is the noise. (There, the other way round.)",
        "predict_x0(xt, t, eps).",
        "diffusion:DenoiseDiffusion.denoise",
        ("self.predict_x0(xt, t, output)", "output"),
        ("DDIM against its formula", "DDPM samples", "DDIM samples"),
    ),
    Exhibit(
        "the loss compares with x_t",
        "EDAPINENUT/GNTPP#5",
        "The loss falls to nothing, and samples are noise.",
        "The network's answer is compared with its own input: to copy x_t is all that there is to learn.",
        "Compare with eps.",
        "diffusion:DenoiseDiffusion.loss",
        ("target = self.target(x0, eps, t)", "target = xt"),
        ("loss of a perfect guess", "shipped weights"),
    ),
)

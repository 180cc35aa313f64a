"""Exhibits: the wrong weights, of the wrong age, or counted wrongly."""

from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import STATE, Exhibit, in_room

STATES = in_room(
    STATE,
    Exhibit(
        "an average that remembers the beginning",
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
        "harubaru/waifu-diffusion#31",
        "Every resumption gives the loss a small jolt.",
        "The weights to train are filled with their average; the optimiser's moments belong to others. "
        "(There, at every saving.)",
        "Both are stored; each goes back to its place.",
        "checkpoint.training:restore",
        ('saved.part("model")', 'saved.part("ema")'),
        ("resumption",),
    ),
    Exhibit(
        "bits divided by the padded size",
        "openai/glow#81",
        "Bits per dimension beat every paper.",
        "Images are padded to 32 x 32, and the sum is divided by the padded number of values.",
        "Divide by the values that are predicted.",
        "bound:per_dimension",
        ("values.flatten(1).mean(1)", "values.flatten(1).sum(1) / (32 * 32)"),
        ("bits",),
    ),
)

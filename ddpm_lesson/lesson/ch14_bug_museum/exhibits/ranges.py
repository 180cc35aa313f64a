"""Exhibits: numbers that are not where they belong."""

from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import DOCUMENT, RANGE, Exhibit, in_room

RANGES = in_room(
    RANGE,
    Exhibit(
        "data in [0, 1]",
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
        "phillipi/pix2pix#20",
        "Samples are right in shape and washed out, as under fog.",
        "The sampler scales its result to [0, 1], and so does what draws it. "
        "(There, both divided by 255, and images were black.)",
        "One place scales, at the very end.",
        "sample.steps:final_samples",
        (".x0_hat", ".x0_hat / 2 + 0.5"),
        ("DDPM samples", "DDIM samples"),
    ),
)

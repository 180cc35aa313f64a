"""All exhibits in the order of their rooms, and those of the clinic that the notebook never names."""

from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import GUIDANCE, SAMPLER, TIME, TRACE, Exhibit
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.guidance import GUIDED
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.ranges import RANGES
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.samplers import SAMPLERS
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.schedules import SCHEDULES
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.slips import SEVEN_SLIPS
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.states import STATES
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.times import TIMES
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.traces import TRACES

PLANTED = "nobody: planted for the clinic"
EXHIBITS = (*SEVEN_SLIPS, *RANGES, *SCHEDULES, *TIMES, *SAMPLERS, *TRACES, *GUIDED, *STATES)
HIDDEN = (  # no thread, and no word of them in the notebook
    Exhibit(
        "the clock runs backwards",
        PLANTED,
        "Samples are noise, from weights that were trained in good health.",
        "The network is told T - 1 - t: at the start of the way back, that it is near the data.",
        "Hand on t.",
        "diffusion:DenoiseDiffusion.denoise",
        ("self.eps_model(xt, t)", "self.eps_model(xt, self.n_steps - 1 - t)"),
        ("what the network is told", "DDPM samples", "DDIM samples"),
        TIME,
    ),
    Exhibit(
        "the loss asks for the image",
        PLANTED,
        "The loss falls fast, and samples are noise.",
        "The network is trained to say x0 and read as if it said eps.",
        "The target is eps.",
        "diffusion:DenoiseDiffusion.loss",
        ("self.target(x0, eps, t)", "x0"),
        ("loss of a perfect guess", "shipped weights"),
        SAMPLER,
    ),
    Exhibit(
        "skips that carry nothing",
        PLANTED,
        "Samples are blurred, with no fine line.",
        "The feature maps of the way down are replaced by zeros.",
        "Concatenate what was kept.",
        "unet.blocks:UpBlock.forward",
        ("torch.cat((x, skip), dim=1)", "torch.cat((x, torch.zeros_like(skip)), dim=1)"),
        ("gradient trace", "shipped weights"),
        TRACE,
    ),
    Exhibit(
        "class 0 in the null branch",
        PLANTED,
        "Class 0 cannot be guided, and all others flee from it.",
        "The label that says none is 0, which is a class: guidance leads away from that class.",
        "A number of its own, n_classes, for none.",
        "sample.guided:Guided.__init__",
        ("self.null = n_classes", "self.null = 0"),
        ("guided noise", "guidance sweep"),
        GUIDANCE,
    ),
)


def named(name: str) -> Exhibit:
    """The exhibit of this name; ValueError if there is none."""
    for exhibit in (*EXHIBITS, *HIDDEN):
        if exhibit.name == name:
            return exhibit
    raise ValueError(f"name must be that of an exhibit, such as {EXHIBITS[0].name!r}; got {name!r}")

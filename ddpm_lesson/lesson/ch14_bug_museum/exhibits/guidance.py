"""Exhibits: labels that are lost, mixed up or pulled at wrongly."""

from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import GUIDANCE, Exhibit, in_room

GUIDED = in_room(
    GUIDANCE,
    Exhibit(
        "w in the place of the scale",
        "threestudio-project/threestudio#269",
        "Guidance is stronger than others report for the same number, and 0 does not switch it off.",
        "The w of Ho and Salimans is 0 for the conditional model, the scale of most code is 1: w = scale - 1. "
        "Either is right; a number from one in the formula of the other is not. "
        "(There, one setting went into both formulas.)",
        "Say beside the number which of the two it is, and test both ends: without a label, and with it alone.",
        "sample.guided:Guided.forward",
        ("torch.lerp(null, label, self.scale)", "torch.lerp(null, label, 1 + self.scale)"),
        ("guided noise", "guidance sweep"),
    ),
    Exhibit(
        "the label in the null branch",
        "QiaoyuHu89/DiffGui#5",
        "The scale can be set to anything, and changes nothing.",
        "A null label is made, and then the real one is handed in twice: the difference is 0.",
        "The null label in the one half, the label in the other.",
        "sample.guided:Guided.forward",
        ("torch.full_like(labels, self.null)", "labels"),
        ("guided noise", "guidance sweep"),
    ),
    Exhibit(
        "two halves in each other's place",
        "Nerogar/OneTrainer#775",
        "The larger the scale, the less the samples show what was asked for.",
        "The batch is put together in one order and taken apart in the other: guidance pulls away from the label. "
        "(There, with the output of one of two text encoders.)",
        "One order, and a test at scale 0, where no label may count.",
        "sample.guided:Guided.forward",
        ("null, label = ", "label, null = "),
        ("guided noise", "guidance sweep"),
    ),
    Exhibit(
        "three channels of four",
        "facebookresearch/DiT#41",
        "Nothing to see with grey or colour images; with four channels, one lags behind the others.",
        "Code made for three colours guides the first three channels, and the data now has four.",
        "Guide all that the network says.",
        "sample.guided:Guided.forward",
        (
            "return torch.lerp(null, label, self.scale)",
            "guided = torch.lerp(null[:, :3], label[:, :3], self.scale)\n"
            "    return torch.cat((guided, label[:, 3:]), dim=1)",
        ),
        ("guided noise",),
    ),
    Exhibit(
        "labels that nobody leaves out",
        "lucidrains/DALLE2-pytorch#235",
        "With the label alone all is well; guided, samples fall apart.",
        "It is drawn who shall go without a label, and then not used: the null label was never trained.",
        "Mask the labels with it, and count how many are left out.",
        "train.batches:draw_labels",
        ("labels.masked_fill(left_out, config.n_classes)", "labels"),
        ("labels in training",),
    ),
    Exhibit(
        "keep for drop",
        "lucidrains/DALLE2-pytorch#35",
        "It takes very long until samples care for their label.",
        "The probability to drop a label is taken for the probability to keep it: nine in ten go without.",
        "Compare in the other direction.",
        "train.batches:draw_labels",
        (" < config.label_dropout", " > config.label_dropout"),
        ("labels in training",),
    ),
    Exhibit(
        "labels in another order than their images",
        "atong01/conditional-flow-matching#172",
        "Samples are fine, and show anything but what was asked for.",
        "The images of a batch are brought into a new order, and their labels are not.",
        "One index for both.",
        "train.batches:draw_labels",
        ("dataset.labels[chosen]", "dataset.labels[chosen.sort().values]"),
        ("labels in training",),
    ),
    Exhibit(
        "labels that go nowhere",
        "huggingface/diffusers#5330",
        "Labels are handed over for days of training, and samples show whatever they like.",
        "The network was made without classes. It takes labels all the same, and drops them without a word.",
        "Whoever cannot use what is given says so.",
        "unet.model:UNet.forward",
        ("if self.class_emb is not None or class_labels is not None:", "if self.class_emb is not None:"),
        ("vary the label",),
    ),
)

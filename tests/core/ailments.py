"""What can be wrong with a model, each done to a healthy one, and the probes of the doctor that must see it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.diffusion import SERIES, DenoiseDiffusion, gather
from ddpm_lesson.schedule import NoiseSchedule

Harm = Callable[[DenoiseDiffusion], None]


class Around(nn.Module):
    """A network with something wrong around it."""

    def __init__(self, network: nn.Module, wrong: Callable[[nn.Module, Tensor, Tensor], Tensor]):
        super().__init__()
        self.network, self.wrong = network, wrong

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        return self.wrong(self.network, xt, t)


def around(wrong: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Harm:
    def harm(d):
        d.eps_model = Around(d.eps_model, wrong)

    return harm


def zero(*parameters: Tensor) -> None:
    for parameter in parameters:
        parameter.zero_()


def cut_time(d):
    zero(*d.eps_model.time_emb.lin2.parameters())


def freeze(d):
    block = d.eps_model.down[0].res
    zero(block.conv2.weight, block.norm2.weight, block.norm2.bias)


def shake(d):
    for p in d.eps_model.parameters():
        p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(0)), alpha=0.1)


def halve(d):
    for p in d.eps_model.parameters():
        p.mul_(0.5)


def answers_x0(d):
    around(lambda net, xt, t: d.predict_x0(xt, t, net(xt, t)))(d)


def answers_v(d):
    def v(net, xt, t):
        eps = net(xt, t)
        return gather(d.alpha_bar, t).sqrt() * eps - gather(d.one_minus_alpha_bar, t).sqrt() * d.predict_x0(xt, t, eps)

    around(v)(d)


def another_schedule(schedule: NoiseSchedule) -> Harm:
    def harm(d):
        for name in SERIES:
            getattr(d, name).copy_(getattr(schedule, name))

    return harm


def turn_tables(d):
    for table in (d.alpha_bar, d.one_minus_alpha_bar):
        table.copy_(table.flip(0))


AILMENTS: dict[str, tuple[Harm, set[str]]] = {
    "time cut": (cut_time, {"outputs", "t", "loss by t", "gradients"}),
    "time reversed": (around(lambda net, xt, t: net(xt, 999 - t)), {"loss by t", "right t"}),
    "time off by 100": (around(lambda net, xt, t: net(xt, (t + 100).clamp(max=999))), {"right t"}),
    "time of the first image": (around(lambda net, xt, t: net(xt, t[:1].expand(len(t)))), {"company"}),
    "time as a whole fraction": (around(lambda net, xt, t: net(xt, t // 1000)), {"t", "loss by t"}),
    "weights shaken": (shake, {"loss by t"}),
    "weights halved": (halve, {"outputs", "loss by t"}),
    "last layer untrained": (lambda d: zero(*d.eps_model.final.parameters()), {"outputs", "t", "gradients"}),
    "last weight zero": (lambda d: zero(d.eps_model.final.weight), {"outputs", "t", "gradients"}),
    "a dead block": (freeze, {"gradients"}),
    "a bias of NaN": (lambda d: d.eps_model.final.bias.fill_(torch.nan), {"outputs", "loss by t"}),
    "a weight of infinity": (lambda d: d.eps_model.final.weight.mul_(1e38), {"outputs", "loss by t"}),
    "signs turned": (around(lambda net, xt, t: -net(xt, t)), {"loss by t"}),
    "answers doubled": (around(lambda net, xt, t: 2 * net(xt, t)), {"outputs", "loss by t"}),
    "answers halved": (around(lambda net, xt, t: 0.5 * net(xt, t)), {"outputs", "loss by t"}),
    "answers x0": (answers_x0, {"outputs", "loss by t"}),
    "answers v": (answers_v, {"outputs", "loss by t"}),
    "answers rounded": (around(lambda net, xt, t: net(xt, t).round()), {"gradients"}),
    "answers clamped": (around(lambda net, xt, t: net(xt, t).clamp(0, 1)), {"outputs", "loss by t"}),
    "answers detached": (around(lambda net, xt, t: net(xt, t).detach()), {"gradients"}),
    "answers dropped out": (around(lambda net, xt, t: F.dropout(net(xt, t), 0.3)), {"company", "loss by t"}),
    "answers of the neighbour": (around(lambda net, xt, t: net(xt, t).roll(1, 0)), {"company", "loss by t"}),
    "images in 0 .. 1": (around(lambda net, xt, t: net((xt + 1) / 2, t)), {"outputs", "loss by t"}),
    "noise doubled": (around(lambda net, xt, t: net(2 * xt, t)), {"loss by t"}),
    "rows and columns exchanged": (around(lambda net, xt, t: net(xt.transpose(-1, -2), t)), {"loss by t"}),
    "a network that raises": (around(lambda net, xt, t: net(xt)), {"outputs", "t", "company", "gradients"}),
    "alpha_bar_prev not shifted": (lambda d: d.alpha_bar_prev.copy_(d.alpha_bar), {"schedule"}),
    "alpha_bar squared": (lambda d: d.alpha_bar.square_(), {"schedule"}),
    "tables reversed": (turn_tables, {"schedule", "loss by t"}),
    "beta for 1 - alpha_bar": (lambda d: d.one_minus_alpha_bar.copy_(d.beta), {"schedule"}),
    "a chain that ends early": (another_schedule(NoiseSchedule.linear(1000, 1e-4, 5e-3)), {"schedule", "right t"}),
    "another schedule": (another_schedule(NoiseSchedule.cosine(1000)), {"right t"}),
}
QUICK = (
    "time cut",
    "weights shaken",
    "a dead block",
    "alpha_bar_prev not shifted",
    "a bias of NaN",
    "another schedule",
)

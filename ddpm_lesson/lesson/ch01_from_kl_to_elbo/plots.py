"""Two distributions and the distance between them, the evidence lower bound, and the terms of a chain's bound."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon
from matplotlib.text import Text
from matplotlib.ticker import MultipleLocator
from torch import Tensor

from ddpm_lesson.lesson.kit.colours import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PINK, SKY
from ddpm_lesson.lesson.kit.diagram import Diagram
from ddpm_lesson.lesson.kit.figure import PLATE, LiveFigure, Picture, headline, key, picture, subplots

CUT = 3  # where the axes of the integrands end
INTEGRANDS = ("p log(p / q)", "q log(q / p)")
FLOOR = -8  # where the axis of the bars ends, in nats
TERM_COLOURS = (SKY, GREEN, AMBER, PINK, ORANGE, BLUE)


class KLPlot:
    """A target p and a Gaussian q, with the integrands of both divergences shaded.

    Args:
        x: (N,), where everything is drawn.
        p: (N,), density of the target.
    """

    def __init__(self, x: Tensor, p: Tensor):
        self.x = x.numpy()
        figure, (densities, *integrands) = subplots(3.4, 3, room=0.44)
        figure.subplots_adjust(left=0.045, wspace=0.16)  # there are three
        frame(densities, self.x, (0, 1.55))  # room for the labels above the highest q
        densities.fill_between(self.x, p.numpy(), color=BLACK, alpha=0.15, linewidth=0)
        densities.plot(self.x, p.numpy(), color=BLACK, linewidth=2)
        self.q = densities.plot([], [], color=BLUE, linewidth=2, linestyle="--")[0]
        key(densities, {"p, the target": BLACK})
        key(densities, {"q (dashed)": BLUE}, "upper right")
        for axes, formula in zip(integrands, INTEGRANDS, strict=True):
            frame(axes, self.x, (-1, CUT))
            axes.set_xlabel(f"x  (shaded: {formula})", labelpad=0)
        self.areas = [signed_area(axes) for axes in integrands]
        self.titles = [headline(figure, axes.get_position().x0) for axes in (densities, *integrands)]
        self.beyond = [beyond_label(axes) for axes in integrands]
        self.live = LiveFigure(figure, [self.q, *sum(self.areas, ()), *self.beyond, *self.titles])

    def draw(self, mean: float, std: float, q: Tensor, integrands: Sequence[Tensor], kls: Sequence[float]) -> Picture:
        """The picture for one Gaussian.

        Args:
            mean, std: of q.
            q: (N,), its density.
            integrands: of KL(p || q) and KL(q || p), each (N,).
            kls: the two divergences in nats.
        """
        self.q.set_data(self.x, q.numpy())
        for area, label, values in zip(self.areas, self.beyond, integrands, strict=True):
            set_signed_area(area, self.x, values.numpy())
            set_beyond(label, self.x, values.numpy())
        self.titles[0].set_text(f"q: mean {mean:.2f}, std {std:.2f}")
        for title, name, value in zip(self.titles[1:], ("KL(p ∥ q)", "KL(q ∥ p)"), kls, strict=True):
            title.set_text(f"{name} = {value:.3g} nats")
        forward, reverse = kls
        alt = (
            f"Target p with two peaks and q = N({mean:.2f}, {std:.2f} squared): forward KL(p || q) = {forward:.3g}, "
            f"reverse KL(q || p) = {reverse:.3g} nats"
        )
        cut = [name for name, label in zip(INTEGRANDS, self.beyond, strict=True) if label.get_text()]
        if cut:
            alt += f"; continued above the picture: {', '.join(cut)}"
        return self.live.picture(alt)


def frame(axes: Axes, x: np.ndarray, ylim: tuple[float, float]) -> None:
    """Limits and a zero line."""
    axes.set(xlim=(x[0], x[-1]), ylim=ylim)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.yaxis.set_major_locator(MultipleLocator(0.5 if ylim[1] < CUT else 1))
    axes.set_xlabel("x", labelpad=0)


def signed_area(axes: Axes) -> tuple[Polygon, Polygon]:
    """What will be shaded above and below zero."""
    start = [(0, 0), (0, 0)]
    above = Polygon(start, facecolor=ORANGE, alpha=0.55, edgecolor=ORANGE)
    below = Polygon(start, facecolor=SKY, alpha=0.6, edgecolor=BLUE, hatch="///")
    return axes.add_patch(above), axes.add_patch(below)


def set_signed_area(area: tuple[Polygon, Polygon], x: np.ndarray, values: np.ndarray) -> None:
    """Shade between zero and ``values``: orange what counts as plus, hatched blue what counts as minus."""
    for polygon, part in zip(area, (values.clip(0, 10 * CUT), values.clip(-10, 0)), strict=True):
        polygon.set_xy(np.column_stack([[x[0], *x, x[-1]], [0, *part, 0]]))


def beyond_label(axes: Axes) -> Text:
    """Room for the words that say that the area goes on above the axes."""
    plate = PLATE | {"alpha": 0.85}
    return axes.text(0, 0.96 * CUT, "", color=ORANGE, ha="center", va="top", fontsize=10, bbox=plate)


def set_beyond(label: Text, x: np.ndarray, values: np.ndarray) -> None:
    """Say so above the highest point of ``values`` if that lies above the axes, and nothing otherwise."""
    highest = int(values.argmax())
    label.set_text("↑ continues above" if values[highest] > CUT else "")
    label.set_x(x[highest].clip(0.43 * x[0], 0.43 * x[-1]))


class GapPlot:
    """q(z | x) against the true posterior, and log p(x) as the sum of ELBO and gap.

    Args:
        z: (N,), where the densities are drawn.
        prior: (N,), density of z.
    """

    def __init__(self, z: Tensor, prior: Tensor):
        self.z = z.numpy()
        figure, (densities, bars) = subplots(3.4, 2, room=0.28, width_ratios=(5, 4))
        figure.subplots_adjust(left=0.045, wspace=0.14)
        frame(densities, self.z, (0, 2.3))
        densities.set_xlabel("z", labelpad=0)
        densities.plot(self.z, prior.numpy(), color=GREY, linewidth=1.2, linestyle=":")
        self.posterior = densities.plot([], [], color=BLACK, linewidth=2)[0]
        self.shade = densities.add_patch(Polygon([(0, 0), (0, 0)], facecolor=BLACK, alpha=0.15))
        self.q = densities.plot([], [], color=BLUE, linewidth=2, linestyle="--")[0]
        for at, align, (text, colour) in zip((0, 0.54, 1), ("left", "center", "right"), DENSITY_LABELS, strict=True):
            densities.text(at, 1.02, text, color=colour, transform=densities.transAxes, va="bottom", ha=align)
        self.bars = bar_axes(bars)
        self.live = LiveFigure(figure, [self.posterior, self.shade, self.q, *self.bars])

    def draw(self, mean: float, std: float, q: Tensor, posterior: Tensor, elbo: float, gap: float) -> Picture:
        """The picture for one q(z | x) = N(mean, std^2).

        Args:
            q, posterior: (N,), densities on z.
            elbo, gap: in nats; they add up to log p(x).
        """
        self.q.set_data(self.z, q.numpy())
        self.posterior.set_data(self.z, posterior.numpy())
        self.shade.set_xy(np.column_stack([[self.z[0], *self.z, self.z[-1]], [0, *posterior.numpy(), 0]]))
        top, gap_bar, elbo_bar, elbo_text, gap_text, evidence_text = self.bars
        evidence, gap = elbo + gap, max(gap, 0.0)  # the sum over the grid may leave -1e-16
        set_bar(elbo_bar, 0.15, FLOOR, elbo)
        set_bar(gap_bar, 0.15, elbo, evidence)
        top.set_ydata([evidence, evidence])
        evidence_text.set_text(f"log p(x) = {evidence:.2f}, whatever q is")
        evidence_text.set_y(evidence + 0.15)
        gap_text.set_text(f"gap, KL(q ∥ p(z|x)) = {gap:.2f}")
        middle = min((max(elbo, FLOOR) + evidence) / 2, evidence - 0.45)
        gap_text.set_y(middle)
        elbo_text.set_text(f"ELBO(q) = {elbo:.2f}" + (" ↓" if elbo < FLOOR else ""))
        elbo_text.set_y(max(min(elbo - 0.5, middle - 0.75), FLOOR + 0.4))
        alt = (
            f"q(z | x) = N({mean:.2f}, {std:.2f} squared) over the true posterior; log p(x) = {evidence:.2f} nats, "
            f"the sum of the ELBO, {elbo:.2f}, and the gap, {gap:.2f}"
        )
        return self.live.picture(alt)


DENSITY_LABELS = (
    ("true posterior p(z | x)", BLACK),
    ("q(z | x), dashed", BLUE),
    ("prior p(z), dotted", GREY),
)


def bar_axes(axes: Axes) -> list:
    """Label the axis in nats and return what will move in it: line, two bars, three texts."""
    axes.set(xlim=(0, 1), ylim=(FLOOR, 0), xticks=[])
    axes.set_title("nats", loc="left", fontsize=10, pad=3)
    start = [(0, 0), (0, 0)]
    top = axes.plot([0.0, 1.0], [0, 0], color=BLACK, linewidth=2)[0]
    gap = axes.add_patch(Polygon(start, facecolor=ORANGE, alpha=0.55, hatch="///", edgecolor=ORANGE))
    elbo = axes.add_patch(Polygon(start, facecolor=SKY, edgecolor=BLUE))
    texts = [axes.text(0.34, 0, "", color=colour, va="center", fontsize=11) for colour in (BLUE, ORANGE)]
    return [top, gap, elbo, *texts, axes.text(0.02, 0, "", va="bottom", fontsize=11)]


def set_bar(bar: Polygon, left: float, low: float, high: float, width: float = 0.16) -> None:
    """Let a bar reach from ``low`` to ``high``, cut off at the floor."""
    low, high = max(low, FLOOR), max(high, FLOOR)
    bar.set_xy([(left, low), (left + width, low), (left + width, high), (left, high)])


def fits_picture(x: Tensor, p: Tensor, fits: Mapping[str, Tensor]) -> Picture:
    """A target and Gaussians fitted to it, by name: density (N,)."""
    figure, (axes,) = subplots(3.2)
    frame(axes, x.numpy(), (0, 1.05 * float(max(p.max(), *(q.max() for q in fits.values())))))
    axes.fill_between(x.numpy(), p.numpy(), color=BLACK, alpha=0.15, linewidth=0)
    axes.plot(x.numpy(), p.numpy(), color=BLACK, linewidth=2, label="p, the target")
    for (name, q), colour, style in zip(fits.items(), (ORANGE, BLUE, GREEN), ("--", "-.", ":"), strict=False):
        axes.plot(x.numpy(), q.numpy(), color=colour, linestyle=style, linewidth=2.2, label=name)
    axes.legend(loc="upper right", frameon=False)
    return picture(figure, f"A target with two peaks and Gaussians fitted to it: {'; '.join(fits)}")


def likelihood_picture(means: Tensor, kl: Tensor, nll: Tensor, entropy: float) -> Picture:
    """KL(data || model) and the average -log p_theta of draws, over the mean of the model; each (N,).

    ``entropy`` is that of the data in nats: the distance between the two curves.
    """
    figure, (axes,) = subplots(3.2)
    axes.plot(means, kl, color=BLACK, linewidth=2)
    axes.plot(means, nll, color=ORANGE, linewidth=2, linestyle="--")
    best = float(means[int(nll.argmin())])
    axes.axvline(best, color=GREY, linewidth=1, linestyle=":")
    i = len(means) * 3 // 4
    draws = r"average of $-\log\,p_\theta(x)$ over draws"
    axes.annotate(draws, (means[i], nll[i]), (-8, 10), color=ORANGE, ha="right", **NEAR)
    axes.annotate("KL(data ∥ model)", (means[i], kl[i]), (12, -12), **NEAR)
    axes.annotate(f"both lowest near {best:.2f}", (best, 0), (6, 6), color=GREY, **NEAR)
    axes.set(xlabel="mean of the model", ylabel="nats", xlim=(float(means[0]), float(means[-1])), ylim=(0, None))
    return picture(
        figure,
        f"Two parallel curves over the mean of the model: KL(data || model), and about {entropy:.2f} nats above it the "
        f"average of -log p_theta over draws of the data; both are lowest near {best:.2f}",
    )


NEAR = {"textcoords": "offset points", "fontsize": 11}


def chain_picture() -> Picture:
    """A chain of four steps from the data to the noise: q leads there, p_theta leads back."""
    d = Diagram(860, 130)
    notes = {"x₀": "the data", "x₁": "", "x₂": "", "x₃": "", "x₄": "noise"}
    boxes = [d.box("data", 40 + 177 * i, 38, 72, 54, *words) for i, words in enumerate(notes.items())]
    for before, after in pairwise(boxes):
        (x, y), (end, _) = before.right, after.left
        d.arrow((x, y - 14), (end, y - 14), label="q adds noise")
        d.arrow((end, y + 14), (x, y + 14), kind="time")
        d.text((x + end) / 2, y + 28, "p goes back", 12, ORANGE)
    return d.picture(
        "Five boxes in a row, from the data x0 to the noise x4: solid arrows, q adds noise, lead to the right; dotted "
        "arrows, p goes back, lead to the left"
    )


def terms_picture(terms: Mapping[str, Sequence[float]], nll: Mapping[str, float], entropy: float) -> Picture:
    """The bound of several models as stacked bars, with the exact likelihood as a mark in each.

    Args:
        terms: for every model L_T, L_{T-1} .., L_0, all positive, in nats.
        nll: for every model the exact average of -log p_theta(x_0).
        entropy: of the data; no model can be below.
    """
    figure, (axes,) = subplots(0.9 + 0.75 * len(terms), grid="")
    for row, (name, values) in enumerate(terms.items()):
        left, names = 0.0, ["$L_T$", *(f"$L_{i}$" for i in reversed(range(len(values) - 1)))]
        for value, label, colour in zip(values, names, TERM_COLOURS, strict=False):
            axes.barh(row, value, left=left, height=0.55, color=pale(colour), edgecolor="white")
            if value > 0.06:  # the plate keeps the line of the entropy out of the words
                axes.text(left + 0.015, row, label, va="center", bbox=PLATE | {"facecolor": pale(colour), "pad": 1})
            left += value
        axes.plot([nll[name]] * 2, [row - 0.38, row + 0.38], color=BLACK, linewidth=3)
        axes.text(left + 0.02, row, f"bound {left:.3f}\nexact {nll[name]:.3f}", va="center", fontsize=10)
    axes.axvline(entropy, color=GREY, linestyle="--", linewidth=1.2)
    axes.set_yticks(range(len(terms)), list(terms))
    axes.set(xlim=(0, 1.17 * max(sum(v) for v in terms.values())), ylim=(len(terms) - 0.4, -0.75), xlabel="nats")
    axes.text(entropy - 0.01, -0.72, "entropy of the data", color=GREY, ha="right", va="top", fontsize=10)
    axes.xaxis.set_major_locator(MultipleLocator(0.25))
    parts = "; ".join(f"{name}: bound {sum(v):.3f}, exact {nll[name]:.3f} nats" for name, v in terms.items())
    return picture(figure, f"The terms of the bound stacked up, with a mark at the exact -log p_theta(x_0). {parts}")


def pale(colour: str) -> tuple[float, ...]:
    """A colour on which black words can be read."""
    return tuple(0.4 + 0.6 * part for part in to_rgb(colour))

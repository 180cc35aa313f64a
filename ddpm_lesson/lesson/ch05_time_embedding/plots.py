"""The time embedding: why it is needed, its clock hands, what is learned from them, and what a wrong time does."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lesson.lesson.kit.colours import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PINK, SKY
from ddpm_lesson.lesson.kit.diagram import Diagram
from ddpm_lesson.lesson.kit.figure import GRID, WIDTH, LiveFigure, Picture, picture, subplots
from ddpm_lesson.lesson.kit.images import contact_sheet, thumbnails, titled
from ddpm_lesson.unet import TimeEmbedding

STYLES = ((BLUE, "-"), (GREEN, "--"), (PINK, "-."), (SKY, ":"), (AMBER, (0, (5, 1, 1, 1, 1, 1))), (GREY, (0, (8, 3))))
N_CLOCKS = 8  # of a row of clocks
FAR = 10  # steps; times farther apart than this should not be confused


class ClockPlot:
    """Clock hands, the vector that they make, and how similar it is to that of every other time.

    A dot marks the most similar one of all times that are far away.

    Args:
        sinusoids: of every time, (T, n), sines in front of cosines.
        turns: steps that each hand takes for a turn, (n / 2,).
    """

    def __init__(self, sinusoids: Tensor, turns: Tensor):
        self.values = sinusoids.numpy()
        T, n = self.values.shape
        self.shown = np.linspace(0, n // 2 - 1, min(n // 2, N_CLOCKS)).round().astype(int)  # the hands that are drawn
        figure = Figure(figsize=(WIDTH, 4.4))
        clocks = figure.add_axes((0.005, 0.61, 0.99, 0.39))
        self.centres = clock_faces(clocks, self.shown, turns.numpy())
        self.hands = clocks.add_collection(LineCollection([], colors=ORANGE, linewidths=2.5, capstyle="round"))
        figure.text(
            0.5, 0.625, "below each hand: the steps of t that it takes for a whole turn", color=GREY, ha="center"
        )
        bar = figure.add_axes((0.06, 0.445, 0.92, 0.085), yticks=[], xlim=(0, 1), ylim=(0, 1))
        bar.set_xticks([0.25, 0.75], ["sines", "cosines"])
        bar.tick_params(length=0)
        self.bar = bar.pcolorfast(np.linspace(0, 1, n + 1), [0, 1], self.values[:1], cmap="RdBu_r", vmin=-1, vmax=1)
        self.middle = bar.axvline(0.5, color=BLACK, linewidth=1.5)
        self.vector = figure.text(0.06, 0.55, "", fontsize=10)
        axes = figure.add_axes((0.06, 0.1, 0.92, 0.22), xlim=(0, T - 1), ylim=(-0.6, 1.08))
        axes.set_xlabel("other time u", labelpad=0)
        axes.set_yticks([-0.5, 0, 0.5, 1])
        axes.grid(**GRID)
        (self.curve,) = axes.plot(np.arange(T), self.values[:, 0], color=BLUE, linewidth=1.2)
        self.here = axes.axvline(0, color=ORANGE, linewidth=1.5, linestyle="--")
        (self.double,) = axes.plot([0], [0], "o", color=PINK, markersize=7, zorder=3)
        self.verdict = figure.text(0.06, 0.34, "", fontsize=10)
        moving = [self.hands, self.bar, self.middle, self.curve, self.here, self.double, self.vector, self.verdict]
        self.live = LiveFigure(figure, moving)

    def draw(self, t: int) -> Picture:
        """The picture at time ``t``."""
        T, n = self.values.shape
        sines, cosines = self.values[t, self.shown], self.values[t, n // 2 + self.shown]
        tips = self.centres + 0.37 * np.stack([sines, cosines], axis=1)  # 12 o'clock at t = 0, then clockwise
        self.hands.set_segments(np.stack([self.centres, tips], axis=1))
        similar = self.values @ self.values[t] / (n // 2)
        self.bar.set_data(self.values[t][None])
        self.curve.set_ydata(similar)
        self.here.set_xdata([t, t])
        u = int(np.where(np.abs(np.arange(T) - t) > FAR, similar, -np.inf).argmax())
        self.double.set_data([u], [similar[u]])
        self.vector.set_text(f"t = {t}: the vector of {n} values (blue -1, white 0, red 1)")
        near = {k: similar[t + k if t + k < T else t - k] for k in (1, 10, 100)}
        words = "similarity of s(t) and s(u) for |t - u| = " + ", ".join(f"{k}: {s:.2f}" for k, s in near.items())
        words += f"; far away at most {similar[u]:.2f}, at u = {u} (dot)"
        self.verdict.set_text(words)
        degrees = np.degrees(np.arctan2(sines, cosines))
        hands = ", ".join(f"hand {i} at {round(a) % 360}" for i, a in zip(self.shown, degrees, strict=True))
        return self.live.picture(f"t = {t}, {n} values: {hands} degrees; {words}")


def clock_faces(axes: Axes, shown: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Faces and names of the clocks numbered ``shown``, side by side; returns their centres."""
    axes.set(xlim=(0, N_CLOCKS), ylim=(0, 1.6), aspect="equal")
    axes.axis("off")
    centres = np.stack([np.arange(len(shown)) + 0.5, np.full(len(shown), 0.98)], axis=1)
    around = np.linspace(0, 2 * np.pi, 49)
    circle, noon = 0.4 * np.stack([np.sin(around), np.cos(around)], axis=1), np.array([[0, 0.32], [0, 0.4]])
    axes.add_collection(LineCollection([c + part for c in centres for part in (circle, noon)], colors=GREY))
    for (x, _), i in zip(centres, shown, strict=True):
        steps = f"{turns[i]:,.{int(turns[i] < 100)}f} steps"
        axes.text(x, 0.5, f"hand {i}\n{steps}", ha="center", va="top", fontsize=9)
    return centres


def curves_over_xt(xt: Tensor, told: Mapping[int, Tensor], timeless: Mapping[str, Tensor], at: float) -> Picture:
    """Best answers over x_t: one curve for each t that is told, and thick ones for whoever is not told.

    Args:
        xt: (N,).
        told: E[eps | x_t, t] for some t, each (N,).
        timeless: answers without t by name, each (N,); may be empty.
        at: the x_t at which the answers are compared in words.
    """
    figure, (axes,) = subplots(3.6)
    here = int((xt - at).abs().argmin())
    for (t, curve), (colour, line) in zip(told.items(), STYLES, strict=False):
        axes.plot(xt, curve, color=colour, linestyle=line, linewidth=1.6, label=f"t = {t}")
    for (name, curve), (colour, line) in zip(timeless.items(), ((BLACK, "-"), (ORANGE, "--")), strict=False):
        axes.plot(xt, curve, color=colour, linestyle=line, linewidth=2.8, label=name)
    axes.axvline(at, color=GREY, linewidth=1)
    axes.set(xlabel="x_t", ylabel="best guess of eps", xlim=(float(xt[0]), float(xt[-1])), ylim=(-2.6, 2.6))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    answers = ", ".join(f"{float(curve[here]):.2f} at t = {t}" for t, curve in told.items())
    alt = f"Best guess of the noise over x_t; at x_t = {at:g} it is {answers}"
    return picture(figure, alt + "".join(f"; {float(curve[here]):.2f} {name}" for name, curve in timeless.items()))


def time_posterior_picture(posteriors: Mapping[int, Tensor], t: int) -> Picture:
    """p(t | x_t) for images of several sizes, all made at the same time.

    Args:
        posteriors: number of pixels -> (T,).
        t: the true time.
    """
    figure, (axes,) = subplots(3.2)
    words = []
    for (n, posterior), (colour, line) in zip(posteriors.items(), STYLES, strict=False):
        values = posterior.numpy()
        axes.plot(
            values / values.max(), color=colour, linestyle=line, linewidth=1.8, label=f"{n} pixel" + "s" * (n > 1)
        )
        mean = float((values * np.arange(len(values))).sum())
        spread = float((values * (np.arange(len(values)) - mean) ** 2).sum()) ** 0.5
        words.append(f"{n}: {mean:.0f} plus or minus {spread:.0f}")
    axes.axvline(t, color=GREY, linewidth=1)
    axes.set(xlabel="t", ylabel="p(t | x_t), highest = 1", xlim=(0, len(values) - 1), ylim=(0, 1.05))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return picture(figure, f"What images made at t = {t} tell about t, by number of pixels: {', '.join(words)}")


def errors_picture(errors: Mapping[str, Tensor]) -> Picture:
    """What each contestant's loss has above the floor, over t; each (T,)."""
    figure, (axes,) = subplots(3.6)
    for (name, error), (colour, line) in zip(errors.items(), ((ORANGE, "-"), *STYLES[:3], (BLACK, "-")), strict=False):
        axes.loglog(np.arange(1, len(error) + 1), error, color=colour, linestyle=line, linewidth=1.8, label=name)
    axes.set(xlabel="t + 1 (logarithmic)", ylabel="squared error above the floor", xlim=(1, len(error)))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    each = ", ".join(f"{name} {float(error.mean()):.4f}" for name, error in errors.items())
    return picture(figure, f"Squared error above the floor over t, by what the network is told; averages: {each}")


def similarity_picture(maps: Mapping[str, Tensor]) -> Picture:
    """Cosine similarity of the vectors of all pairs of times, a heat map for each name; vectors are (T, n)."""
    figure, panes = subplots(min(3.3, 1 + 7 / len(maps)), len(maps), grid="", sharey=True)
    words = []
    for axes, (name, vectors) in zip(panes, maps.items(), strict=True):
        unit = vectors / vectors.norm(dim=1, keepdim=True)
        similar, T = (unit @ unit.T).numpy(), len(vectors)
        shown = axes.imshow(averaged(similar, max(1, T // 250)), cmap="cividis", vmin=-1, vmax=1, extent=(0, T, T, 0))
        axes.set(title=name, xlabel="u", xticks=range(0, T, T // 4))
        words.append(f"{name}: {similar[0, T // 20]:.2f} between 0 and {T // 20}, {similar[-1, -1 - T // 20]:.2f} "
                     f"between {T - 1} and {T - 1 - T // 20}")  # fmt: skip
    panes[0].set_ylabel("t")
    figure.colorbar(shown, ax=panes, label="similarity", shrink=0.8)
    return LiveFigure(figure, ()).picture(f"Similarity of the vectors of two times. {'; '.join(words)}")


def averaged(values: np.ndarray, step: int) -> np.ndarray:
    """Means of squares of ``step`` by ``step`` values, so that fast stripes blur instead of turning into slow ones."""
    n = len(values) // step
    return values[: n * step, : n * step].reshape(n, step, n, step).mean(axis=(1, 3))


def told_losses_picture(told: list[int], losses: Mapping[int, Tensor]) -> Picture:
    """The loss over the time that a network is told, a curve for each true time, which is marked.

    Args:
        told: the times that it is told.
        losses: true time, one of ``told`` -> (len(told),).
    """
    figure, (axes,) = subplots(3.6, which="both")
    words = []
    for (t, loss), (colour, line) in zip(losses.items(), STYLES, strict=False):
        axes.semilogy(told, loss, color=colour, linestyle=line, linewidth=1.8, label=f"true t = {t}")
        axes.plot(t, loss[told.index(t)], "o", color=colour, markersize=8)
        here, least = float(loss[told.index(t)]), told[int(loss.argmin())]
        ends = f"{float(loss[0]):.2f} told {told[0]}, {float(loss[-1]):.2f} told {told[-1]}"
        words.append(f"true t = {t}: {here:.3f} told the truth, least when told {least}, {ends}")
    axes.set(xlabel="the t that the network is told", ylabel="squared error of eps", xlim=(told[0], told[-1]))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, title="dots: the truth")
    return picture(figure, f"Squared error of eps over the time that the network is told. {'; '.join(words)}")


def told_picture(
    x0: Tensor, xt: Tensor, guesses: Mapping[int, Tensor], errors: Mapping[int, float], seed: int
) -> Picture:
    """Images, their noisy versions, and the guesses of a network that is told the right and a wrong time.

    Args:
        x0, xt: (B, C, H, W) in [-1, 1].
        guesses: x0_hat for the true time, then for the one that is told; one entry if they are the same.
        errors: mean squared error of eps for each.
        seed: of the noise.
    """
    t, told = next(iter(guesses)), list(guesses)[-1]
    rows = {"x_0": x0, "x_t": xt, "told the truth": guesses[t], "told another t": guesses[told]}
    words = f"squared error of eps: {errors[t]:.3f} told the truth, {errors[told]:.3f} told t = {told}"
    what = f"{len(x0)} images noised to t = {t} with noise {seed}"
    alt = f"{what}, and the guesses x0_hat of a network that is told {t} and {told}; {words}"
    return picture(titled(contact_sheet(thumbnails(rows, 84), gap=10), f"t = {t}, {words}"), alt)


def embedding_diagram(embedding: TimeEmbedding, t: int = 250) -> Picture:
    """From t to the vector that every residual block reads: sizes and stripes from the live module."""
    import torch

    n, size = embedding.lin1.in_features, embedding.n_channels
    with torch.no_grad():
        time = torch.tensor([t])
        sinusoids, learned = embedding.sinusoids(time)[0], embedding(time)[0]
    d = Diagram(860, 250)
    d.frame(120, 20, 470, 120, "TimeEmbedding")
    number = d.box("data", 20, 62, 80, 56, f"t = {t}", "(B,)")
    clocks = d.box("time", 136, 62, 112, 56, "sinusoids", f"{n // 2} hands: {n}")
    first = d.box("linear", 274, 62, 92, 56, "lin1", f"{n} → {size}")
    act = d.box("act", 392, 62, 72, 56, "Swish")
    second = d.box("linear", 490, 62, 86, 56, "lin2", f"{size} → {size}")
    vector = d.box("data", 616, 62, 80, 56, "t_emb", f"(B, {size})")
    block = d.box("block", 738, 30, 106, 120, "residual\nblocks", "")
    for start, end in ((number, clocks), (clocks, first), (first, act), (act, second), (second, vector)):
        d.arrow(start.right, end.left)
    for y in (62, 90, 118):
        d.arrow(vector.right, (716, 90), (716, y), (738, y), kind="time")
    stripes(d, 136, 172, 112, sinusoids, f"s({t})")
    stripes(d, 490, 172, 206, learned, f"t_emb of t = {t}")
    d.text(block.centre[0], 172, f"each: Swish,\nLinear {size} → C,\n+ to all pixels", 12, GREY, "ma")
    alt = (
        f"A time t goes into {n // 2} clock hands, {n} sinusoids, then through lin1 ({n} to {size}), Swish and lin2 "
        f"({size} to {size}); the vector t_emb of {size} values goes to every residual block, which turns it into one "
        "number a channel and adds this to all pixels"
    )
    return d.picture(alt)


def stripes(d: Diagram, x: float, y: float, w: float, values: Tensor, name: str) -> None:
    """A vector as coloured stripes with its name below, blue below 0 and red above."""
    scaled = 0.5 + 0.5 * values.numpy() / float(values.abs().max())
    d.image(x, y, w, 26, colormaps["RdBu_r"](scaled[None], bytes=True)[..., :3])
    d.text(x + w / 2, y + 40, name, 12, GREY)

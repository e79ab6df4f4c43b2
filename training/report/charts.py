"""Draws the curves of a run: loss, learning rate, speed. Numbers only: no text of the corpus gets
in here."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike

from training.quantities import format_number, format_short
from training.report.curves import bin_means, binned_losses, columns, smoothed_losses
from training.report.drawing import Chart
from training.report.palette import Palette
from training.report.run_facts import RunFacts
from training.run_log.events import Evaluation, Step

# A narrow screen has room for fewer words in the picture.
_NARROW_INCHES = 5.0


def loss_chart(facts: RunFacts) -> Chart | None:
    """Train and held-out loss over the steps, with the n-gram's line and the best point; None
    without any."""
    if not facts.steps and not facts.evaluations:
        return None
    return Chart(
        name="loss",
        description=_describe_loss(facts),
        draw=lambda figure, palette: _draw_loss(figure, palette, facts),
        height_inches=4.0,
    )


def pace_chart(facts: RunFacts) -> Chart | None:
    """Learning rate, speed and gradient norm over the steps; None before the second step."""
    if len(facts.steps) < 2:
        return None
    return Chart(
        name="pace",
        description="Learning rate, tokens per second and gradient norm over the training steps.",
        draw=lambda figure, palette: _draw_pace(figure, palette, facts.steps),
        height_inches=2.3,
    )


def top_of_loss_chart(facts: RunFacts) -> float | None:
    """Where the loss chart ends above, in nats per token; None without any finite loss.

    The first steep fall would flatten all that follows, so it may leave the picture.
    """
    values = _finite_losses(facts)
    if not values:
        return None
    focus: float = values[len(values) // 2]
    if facts.ngram is not None:
        focus = max(focus, facts.ngram.nats_per_token)
    if facts.best is not None:
        focus = max(focus, facts.best.loss)
    return min(values[-1], focus + 0.75 * max(focus - values[0], 0.1))


def _finite_losses(facts: RunFacts) -> list[float]:
    """All losses that the picture can show, the lowest first."""
    values = [loss for _, loss in smoothed_losses(facts.steps)]
    values += [each.loss for each in facts.evaluations]
    return sorted(value for value in values if math.isfinite(value))


def _describe_loss(facts: RunFacts) -> str:
    words = ["Loss over the training steps, in nats per token and bits per byte."]
    if facts.best is not None:
        words.append(
            f"The held-out text is best at step {facts.best.step}: "
            f"{format_number(facts.best.loss)} nats per token."
        )
    if facts.ngram is not None:
        words.append(f"The n-gram model needs {format_number(facts.ngram.nats_per_token)}.")
    return " ".join(words)


def _draw_loss(figure: Figure, palette: Palette, facts: RunFacts) -> None:
    axes = figure.subplots()
    _dress(axes, palette)
    raw, smooth = binned_losses(facts.steps), smoothed_losses(facts.steps)
    if len(raw) > 20:
        axes.plot(*columns(raw), color=palette.train, linewidth=0.8, alpha=0.45)
    if smooth:
        axes.plot(*columns(smooth), color=palette.train, linewidth=1.8, label="training text")
    evaluations = [each for each in facts.evaluations if math.isfinite(each.loss)]
    if evaluations:
        axes.plot(
            [each.step for each in evaluations],
            [each.loss for each in evaluations],
            color=palette.held_out,
            linewidth=2.2,
            marker="o" if len(evaluations) <= 40 else "",
            markersize=3.5,
            label="held-out text",
        )
    _limit(axes, facts)
    if facts.ngram is not None:
        axes.axhline(
            facts.ngram.nats_per_token,
            color=palette.ngram,
            linewidth=1.4,
            linestyle=(0, (5, 3)),
            label=f"n-gram of order {facts.ngram.order}, held out",
        )
    if facts.first_bad_step is not None:
        axes.axvline(
            facts.first_bad_step.step, color=palette.alarm, linewidth=1.4, label="loss not finite"
        )
    if facts.best is not None and math.isfinite(facts.best.loss):
        _mark_best(axes, palette, facts.best)
    axes.set_xlabel("step", color=palette.muted)
    axes.set_ylabel("nats per token", color=palette.muted)
    _add_bits_axis(axes, palette, facts.bits_per_byte_per_nat)
    is_narrow = figure.get_figwidth() < _NARROW_INCHES
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.01),
        ncols=1 if is_narrow else 4,
        frameon=False,
        borderaxespad=0,
        handlelength=1.8,
        columnspacing=1.6,
    )
    for text in legend.get_texts():
        text.set_color(palette.ink)


def _limit(axes: Axes, facts: RunFacts) -> None:
    top = top_of_loss_chart(facts)
    if top is None:
        return
    low = _finite_losses(facts)[0]
    if facts.ngram is not None:
        low = min(low, facts.ngram.nats_per_token)
        top = max(top, facts.ngram.nats_per_token)
    margin = 0.06 * max(top - low, 0.1)
    axes.set_ylim(low - 2.2 * margin, top + margin)


def _mark_best(axes: Axes, palette: Palette, best: Evaluation) -> None:
    axes.plot(
        [best.step],
        [best.loss],
        marker="o",
        markersize=10,
        markerfacecolor="none",
        markeredgecolor=palette.held_out,
        markeredgewidth=1.8,
        linestyle="",
    )
    left, right = axes.get_xlim()
    position = (best.step - left) / (right - left)
    side = "left" if position < 0.3 else "right" if position > 0.7 else "center"
    bits = format_number(best.bits_per_byte)
    axes.annotate(
        f"best: {format_number(best.loss)} nats\n= {bits} bits per byte",
        xy=(best.step, best.loss),
        xytext=(0, 20),
        textcoords="offset points",
        ha=side,
        va="bottom",
        color=palette.held_out,
        fontsize=9.5,
    )


def _add_bits_axis(axes: Axes, palette: Palette, factor: float | None) -> None:
    if factor is None:
        return
    per_nat = factor

    def to_bits(nats: ArrayLike) -> ArrayLike:
        return np.asarray(nats, dtype=np.float64) * per_nat

    def to_nats(bits: ArrayLike) -> ArrayLike:
        return np.asarray(bits, dtype=np.float64) / per_nat

    bits = axes.secondary_yaxis("right", functions=(to_bits, to_nats))
    bits.set_ylabel("bits per byte", color=palette.muted)
    bits.tick_params(colors=palette.muted, length=0)
    bits.spines["right"].set_visible(False)


def _draw_pace(figure: Figure, palette: Palette, steps: Sequence[Step]) -> None:
    series = [
        ("learning rate", [(step.step, step.learning_rate) for step in steps]),
        ("tokens per second", [(step.step, step.tokens_per_second) for step in steps]),
        (
            "gradient norm",
            [(step.step, step.gradient_norm) for step in steps if step.gradient_norm is not None],
        ),
    ]
    filled = [(title, points) for title, points in series if points]
    is_narrow = figure.get_figwidth() < _NARROW_INCHES
    if is_narrow:
        figure.set_figheight(1.9 * len(filled))
    grid = figure.subplots(
        len(filled) if is_narrow else 1, 1 if is_narrow else len(filled), squeeze=False
    )
    for axes, (title, points) in zip(grid.flat, filled, strict=True):
        _dress(axes, palette)
        axes.set_title(title, loc="left", fontsize=10, color=palette.ink)
        axes.plot(*columns(bin_means(points)), color=palette.held_out, linewidth=1.6)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(
            FuncFormatter(_format_rate if title == "learning rate" else _format_amount)
        )
        if title != "learning rate":
            axes.set_ylim(bottom=0)


def _format_rate(value: float, _: object) -> str:
    return "0" if value == 0 else f"{value:.1e}".replace("e-0", "e-")


def _format_amount(value: float, _: object) -> str:
    return format_short(value) if value >= 1000 else f"{value:g}"


def _format_step(value: float, _: object) -> str:
    return f"{value:,.0f}"


def _dress(axes: Axes, palette: Palette) -> None:
    axes.set_facecolor("none")
    axes.grid(axis="y", color=palette.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=palette.muted, length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(palette.grid)
    axes.margins(x=0.015)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_format_step))

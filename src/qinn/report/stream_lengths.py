"""Accuracy over the length of streams, as a figure and as a section of the page."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.ticker import FixedLocator, NullLocator

from qinn.destinations import marked
from qinn.report.figure_style import (
    DASHES,
    GREY,
    PALETTE,
    new_figure,
    plain,
    require,
    styled,
    to_svg,
    write_figures,
)
from qinn.report.numbering import Numbering
from qinn.report.sections import Part, Section
from qinn.results.demo import BAYES, CONSTANT, KINDS, StreamsResult
from qinn.results.number_text import counted

_MARK = "<!-- made by qinn demo -->"
FIGURE = marked("qinn demo", _MARK)
"""The figures that the demo makes."""

_MARKERS = ("o", "s", "^", "D")
# Height of a number beside a curve, in units of accuracy.
_LETTER = 0.035


@styled
def lengths_figure(
    lengths: Sequence[int],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    best: Sequence[float],
    chance: float,
) -> str:
    """Accuracy of several models over the length of streams, a panel for each kind of stream.

    Args:
        lengths: Lengths, rising.
        panels: Kind of stream → model → accuracy at each length.
        best: The best possible accuracy, by panel.
        chance: Accuracy of guessing.

    Raises:
        ArgumentError: If there is no panel, or a model has not one value per length.

    Examples:
        >>> lengths_figure([20, 200], {"recurring": {"qubit": [1.0, 0.98]}}, best=[1.0], chance=0.5)[:4]
        '<svg'
    """
    require(len(panels) > 0, "Argument `panels` must hold at least one kind of stream, but it is empty.")
    require(
        len(best) == len(panels),
        f"Argument `best` must have a value for each of {len(panels)} panels, but has {len(best)}.",
    )
    for curves in panels.values():
        for name, values in curves.items():
            require(
                len(values) == len(lengths),
                f"Argument `panels` must have one value for each of {len(lengths)} lengths, but `{name}` has "
                f"{len(values)}.",
            )
    figure, drawn = new_figure(7.0, 3.2, panels=len(panels))
    for axes, (kind, curves), bound in zip(drawn, panels.items(), best, strict=True):
        axes.axhline(bound, color=GREY, linestyle=":", linewidth=1.0, label="best possible")
        axes.axhline(chance, color=GREY, linestyle="-.", linewidth=0.8, label="chance")
        heights = _apart([values[-1] for values in curves.values()])
        for index, (name, values) in enumerate(curves.items()):
            axes.plot(
                lengths,
                values,
                label=plain(name),
                color=PALETTE[index % len(PALETTE)],
                linestyle=DASHES[index % len(DASHES)],
                marker=_MARKERS[index % len(_MARKERS)],
                # The first stay visible where several are equal.
                markersize=4.0 + 1.5 * index,
                zorder=2.9 - 0.1 * index,
            )
            axes.annotate(
                f"{values[-1]:.2f}",
                (lengths[-1], heights[index]),
                xytext=(6, 0),
                textcoords="offset points",
                fontsize=7.5,
                va="center",
                color=PALETTE[index % len(PALETTE)],
            )
        axes.set(title=kind, xlabel="steps", xscale="log")
        axes.xaxis.set_major_locator(FixedLocator(list(lengths)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([str(length) for length in lengths])
        axes.set_ylim(min(0.4, chance - 0.05), 1.04)
    drawn[0].set(ylabel="accuracy (higher is better)")
    handles, names = drawn[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center")
    return to_svg(figure, f"Accuracy of {len(next(iter(panels.values())))} models over the length of streams")


def write_lengths_figure(path: Path, streams: StreamsResult) -> None:
    """Draw what the demo's second half found.

    Raises:
        QinnError: If it cannot be written.
    """
    write_figures(path.parent, {path.stem: _figure_of(streams)}, _MARK)


def lengths_section(streams: StreamsResult, numbering: Numbering) -> Section:
    """Return what the demo's second half found, for its page: the figure, and every number of it."""
    longest = streams.lengths[-1]
    figure = numbering.figure(
        {"Accuracy over the length of streams": _figure_of(streams)},
        f"Accuracy of {counted(len(streams.accuracy), 'model')} on streams of up to {longest} steps. Dotted: the best "
        f"that any model can reach; dash-dotted: always the same answer. The numbers are those at {longest} steps.",
    )
    tables = [one for kind in KINDS for one in numbering.table(streams.table(kind))]
    text = (
        "The same weights as in the comparison, asked about streams longer than any that they learned from: words and "
        "tones set a sentiment, turn it or do nothing, and the answer is the sentiment at the end. With one SET it has "
        "to be kept from the first step on."
    )
    part = Part("Accuracy over the length of streams", text=text, exhibits=[*figure, *tables])
    return Section("lengths", "On longer streams", [part])


def _figure_of(streams: StreamsResult) -> str:
    return lengths_figure(
        streams.lengths,
        {
            wording: {label: row.of(kind) for label, row in streams.accuracy.items()}
            for kind, wording in KINDS.items()
        },
        best=[min(streams.known[BAYES].of(kind)) for kind in KINDS],
        chance=streams.known[CONSTANT].as_trained,
    )


def _apart(values: Sequence[float]) -> list[float]:
    """Heights near some values at which numbers do not cover each other: the highest stays, the others give way."""
    heights = list(values)
    order = sorted(range(len(values)), key=lambda index: -values[index])
    for above, below in pairwise(order):
        heights[below] = min(heights[below], heights[above] - _LETTER)
    return heights

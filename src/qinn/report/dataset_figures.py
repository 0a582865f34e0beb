"""Figures of a data set as SVG text: pure functions of arrays, in the style of `qinn.report.run_figures`."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.ticker import MaxNLocator

from qinn.report.figure_style import (
    BLUE,
    DASHES,
    GREY,
    PALETTE,
    VERMILLION,
    name_rows,
    new_figure,
    plain,
    require,
    styled,
    to_svg,
)

LENGTH_BINS = 30
GROUP_BINS = 24
MOST_FEATURES = 400
"""Of more features than this, equally spaced ones are drawn."""

_HATCHES = ("", "///", "...", "xxx")


@styled
def label_shares(
    names: Sequence[str],
    counts: Mapping[str, Int[np.ndarray, "bin"]],
    *,
    label: str,
    known: Mapping[str, Int[np.ndarray, "bin"]] | None = None,
) -> str:
    """Share of each part's labelled samples in every class or interval of the score, or that have each label.

    Args:
        names: Classes, intervals or labels.
        counts: Part (split, fold) → number of samples in each of them.
        label: What the names are, for the axis.
        known: Part → of how many samples it is known whether they have each label, which the shares are of; None where
            a sample is in one of the bins.

    Raises:
        ArgumentError: If there is no split or the numbers do not fit the names.

    Examples:
        >>> label_shares(["sad", "glad"], {"train": np.array([3, 1])}, label="class")[:4]
        '<svg'
    """
    require(
        len(counts) > 0 and all(len(values) == len(names) > 0 for values in counts.values()),
        f"Argument `counts` must hold {len(names)} numbers for at least one part, but it holds "
        f"{ {split: len(values) for split, values in counts.items()} }.",
    )
    figure, (axes,) = new_figure(7.0, 3.1)
    width = 0.8 / len(counts)
    for index, (split, values) in enumerate(counts.items()):
        axes.bar(
            np.arange(len(names)) + (index - (len(counts) - 1) / 2) * width,
            values / np.maximum(1, values.sum() if known is None else known[split]),
            width,
            color=PALETTE[index % len(PALETTE)],
            hatch=_HATCHES[index % len(_HATCHES)],
            edgecolor="white",
            linewidth=0.4,
            label=f"{plain(split)} ({(values.sum() if known is None else known[split].max()):,})",
        )
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set(xlabel=label, ylabel=f"share of the part's {'labels' if known is None else 'samples'}")
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside upper right", ncols=len(counts))
    return to_svg(figure, f"Share of labels in {len(names)} bins for {', '.join(counts)}")


@styled
def length_histogram(name: str, lengths: Mapping[str, Int[np.ndarray, "_"]]) -> str:
    """Distribution of one modality's number of steps over the samples that have it, part by part.

    Args:
        name: The modality.
        lengths: Part → number of steps of its samples; those of absent ones (0) are left out.

    Raises:
        ArgumentError: If no sample has the modality.

    Examples:
        >>> length_histogram("audio", {"train": np.array([3, 0, 5])})[:4]
        '<svg'
    """
    present = {split: values[values > 0] for split, values in lengths.items() if (values > 0).any()}
    require(len(present) > 0, f"Argument `lengths` must have a sample with `{name}`, but it has none.")
    low, high = (
        reach(values.max() if reach is max else values.min() for values in present.values())
        for reach in (min, max)
    )
    bins = np.linspace(low - 0.5, high + 0.5, min(LENGTH_BINS, int(high - low) + 1) + 1)
    figure, (axes,) = new_figure(4.6, 2.7)
    for index, (split, values) in enumerate(present.items()):
        axes.stairs(
            np.histogram(values, bins)[0] / len(values),
            bins,
            color=PALETTE[index % len(PALETTE)],
            linestyle=DASHES[index % len(DASHES)],
            linewidth=1.6,
            label=f"{plain(split)}, median {np.median(values):g}",
        )
    axes.set(xlabel=f"steps of {name}", ylabel="share of samples", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return to_svg(figure, f"Number of steps of {name}, {low} to {high}, for {', '.join(present)}")


@styled
def presence_patterns(
    patterns: Sequence[str], counts: Int[np.ndarray, "pattern part"], parts: Sequence[str]
) -> str:
    """How many samples have which modalities together, stacked by part.

    Args:
        patterns: Sets of modalities in words, the most frequent first.
        counts: Samples of each pattern (row) and part (column).
        parts: Names of the parts.

    Raises:
        ArgumentError: If counts and names do not fit.

    Examples:
        >>> presence_patterns(["text, audio", "text"], np.array([[5], [1]]), ["train"])[:4]
        '<svg'
    """
    require(
        counts.shape == (len(patterns), len(parts)) and counts.size > 0,
        f"Argument `counts` must have shape ({len(patterns)}, {len(parts)}), but its shape is {counts.shape}.",
    )
    figure, (axes,) = new_figure(6.6, 1.0 + 0.34 * len(patterns))
    left = np.zeros(len(patterns))
    for index, part in enumerate(parts):
        axes.barh(
            range(len(patterns)),
            counts[:, index],
            left=left,
            height=0.62,
            color=PALETTE[index % len(PALETTE)],
            hatch=_HATCHES[index % len(_HATCHES)],
            edgecolor="white",
            linewidth=0.4,
            label=plain(part),
        )
        left += counts[:, index]
    name_rows(axes, patterns, longest=60)
    axes.tick_params(axis="y", color=GREY)
    axes.set_xlabel("samples")
    axes.legend(loc="lower right")
    return to_svg(figure, f"Samples by which of the modalities they have, {len(patterns)} patterns")


@styled
def feature_ranges(
    name: str,
    mean: Float[np.ndarray, "feature"],
    sd: Float[np.ndarray, "feature"],
) -> str:
    """Mean and standard deviation of every feature of a modality, in the order of the features.

    The axis is linear near zero and logarithmic beyond where the features differ in size by more than a
    factor of 100.

    Args:
        name: The modality.
        mean: Mean of every feature.
        sd: Standard deviation of every feature.

    Raises:
        ArgumentError: If there is no feature or the two do not fit.

    Examples:
        >>> feature_ranges("audio", np.array([0.0, 100.0]), np.array([1.0, 30.0]))[:4]
        '<svg'
    """
    require(
        len(mean) == len(sd) > 0,
        f"Arguments `mean` and `sd` must hold one value per feature, but hold {len(mean)} and {len(sd)}.",
    )
    shown = np.unique(np.linspace(0, len(mean) - 1, min(len(mean), MOST_FEATURES)).round().astype(int))
    figure, (axes,) = new_figure(4.6, 2.7)
    axes.vlines(shown, (mean - sd)[shown], (mean + sd)[shown], color=BLUE, linewidth=1.2, alpha=0.6)
    axes.plot(shown, mean[shown], ".", color=VERMILLION, markersize=3)
    sizes = np.abs(mean) + sd
    typical = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 1.0
    if sizes.max() > 100 * typical:
        # A power of ten: other bounds put ticks on top of one another around zero.
        axes.set_yscale("symlog", linthresh=10.0 ** np.ceil(np.log10(typical)))
    axes.set(xlabel=f"feature of {name}", ylabel="mean ± standard deviation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return to_svg(figure, f"Mean and standard deviation of {len(mean)} features of {name}")


@styled
def group_sizes(sizes: Int[np.ndarray, "group"]) -> str:
    """Distribution of the number of samples per group.

    Args:
        sizes: Samples of each group.

    Raises:
        ArgumentError: If there is no group.

    Examples:
        >>> group_sizes(np.array([3, 4, 4]))[:4]
        '<svg'
    """
    require(len(sizes) > 0, "Argument `sizes` must hold at least one group, but it is empty.")
    low, high = int(sizes.min()), int(sizes.max())
    bins = np.linspace(low - 0.5, high + 0.5, min(GROUP_BINS, high - low + 1) + 1)
    figure, (axes,) = new_figure(4.6, 2.7)
    axes.hist(sizes, bins.tolist(), color=BLUE, edgecolor="white", linewidth=0.4)
    axes.axvline(
        float(np.median(sizes)), color=VERMILLION, linestyle="--", label=f"median {np.median(sizes):g}"
    )
    axes.set(xlabel="samples per group", ylabel="groups")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return to_svg(figure, f"Number of samples per group, {low} to {high}, of {len(sizes)} groups")

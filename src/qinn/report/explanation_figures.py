"""What `qinn explain` draws: entropies, information, counterfactuals, and a model along the knob of its coupling."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from qinn.experiment.coupling import FIGURE
from qinn.experiment.explanation import FIGURE_MARK
from qinn.report.bloch_figure import ball_figure
from qinn.report.figure_style import (
    BLUE,
    GREY,
    READING,
    VERMILLION,
    check_columns,
    draw_distributions,
    new_figure,
    require,
    styled,
    to_svg,
    write_figures,
)
from qinn.report.sentence_figure import sentence_figure
from qinn.results.coupling import CouplingResult
from qinn.results.explanation import ExplanationTable, read_explanation, read_summary
from qinn.results.steps import read_steps

_MOST_PANELS = 3


@styled
def entropy_distributions(
    cuts: Sequence[str],
    entropy: Float[np.ndarray, "sample cut"],
    maximum: Float[np.ndarray, "cut"],
) -> str:
    """Entanglement entropy of every cut over the samples, with the largest possible value marked.

    Args:
        cuts: Names of the cuts.
        entropy: Entanglement entropy of each sample and cut, bits.
        maximum: Largest possible entropy of each cut, log₂ min(d_A, d_B), bits.

    Raises:
        ArgumentError: If arrays and names do not fit.

    Examples:
        >>> entropy_distributions(["text | audio"], np.array([[0.2], [0.5]]), np.array([1.0]))[:4]
        '<svg'
    """
    check_columns("entropy", entropy, cuts)
    require(
        len(maximum) == len(cuts),
        f"Argument `maximum` must hold one value for each of {len(cuts)} cuts, but it holds {len(maximum)}.",
    )
    figure, (axes,) = new_figure(6.6, 1.2 + 0.5 * len(cuts))
    draw_distributions(axes, cuts, entropy)
    rows = np.arange(len(cuts))
    axes.vlines(maximum, rows - 0.4, rows + 0.4, color=VERMILLION, linestyle="--", label="largest possible")
    top = float(maximum.max()) or 1.0
    axes.set_xlim(-0.03 * top, 1.05 * top)
    axes.set(xlabel="entanglement entropy (bits)", title=READING)
    figure.legend(loc="outside lower right")
    return to_svg(figure, f"Entanglement entropy of {len(cuts)} cuts over {len(entropy)} samples, in bits")


@styled
def counterfactual_shifts(
    names: Sequence[str],
    shifts: Float[np.ndarray, "sample counterfactual"],
    *,
    unit: str = "score",
) -> str:
    """How far each sample's output moves when a part of the model or of the input is removed.

    Args:
        names: What is removed, for example ``"no jumps"``.
        shifts: Output without it minus output with it.
        unit: Unit of the output.

    Raises:
        ArgumentError: If array and names do not fit.

    Examples:
        >>> counterfactual_shifts(["no jumps"], np.array([[0.2], [-0.1]]))[:4]
        '<svg'
    """
    check_columns("shifts", shifts, names)
    figure, (axes,) = new_figure(6.6, 1.1 + 0.45 * len(names))
    axes.axvline(0.0, color=VERMILLION, linestyle="--", linewidth=1.0)
    draw_distributions(axes, names, shifts)
    axes.set(xlabel=f"change of the {unit} when removed", title=READING)
    return to_svg(figure, f"Change of the {unit} of {len(shifts)} samples under {len(names)} removals")


@styled
def mutual_information_distributions(
    pairs: Sequence[str],
    information: Float[np.ndarray, "sample pair"],
    *,
    quantity: str = "quantum mutual information",
) -> str:
    """Quantum mutual information of every pair of modalities over the samples, or another measure in bits.

    Args:
        pairs: Names of the pairs.
        information: Mutual information of each sample and pair on the averaged state, bits.
        quantity: Name of the measure for the axis.

    Raises:
        ArgumentError: If array and names do not fit.

    Examples:
        >>> mutual_information_distributions(["text : audio"], np.array([[0.2], [0.4]]))[:4]
        '<svg'
    """
    check_columns("information", information, pairs)
    figure, (axes,) = new_figure(6.6, 1.1 + 0.45 * len(pairs))
    draw_distributions(axes, pairs, information)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.set(xlabel=f"{quantity} (bits)", title=READING)
    return to_svg(
        figure, f"{quantity.capitalize()} of {len(pairs)} pairs over {len(information)} samples, in bits"
    )


def entropy_figure(table: ExplanationTable) -> str | None:
    """Draw the entropy of every cut that can be entangled at all; None where there is none."""
    cuts = [
        cut
        for cut, values in table.entropy.items()
        if table.entropy_maximum[cut] > 0 and np.isfinite(values).any()
    ]
    if not cuts or not table.ids:
        return None
    entropy = np.stack([table.entropy[cut] for cut in cuts], axis=1)
    return entropy_distributions(cuts, entropy, np.array([table.entropy_maximum[cut] for cut in cuts]))


def mutual_information_figure(table: ExplanationTable) -> str | None:
    """Draw the mutual information of every pair of modalities; None where there is none."""
    return _pairs_figure(table.mutual_information, "quantum mutual information")


def negativity_figure(table: ExplanationTable) -> str | None:
    """Draw the logarithmic negativity of every pair of modalities; None where there is none."""
    return _pairs_figure(table.negativity, "logarithmic negativity")


def _pairs_figure(pairs: Mapping[str, Float[np.ndarray, "sample"]], quantity: str) -> str | None:
    values = np.stack(list(pairs.values()), axis=1) if pairs else np.zeros((0, 0))
    return mutual_information_distributions(list(pairs), values, quantity=quantity) if values.size else None


def counterfactual_figure(table: ExplanationTable) -> str | None:
    """Draw how far every removal moves the samples; None where nothing was removed."""
    shifts = table.shifts()
    if not shifts or not table.ids:
        return None
    return counterfactual_shifts(
        list(shifts), np.stack(list(shifts.values()), axis=1), unit=table.shifted_quantity
    )


@styled
def coupling_figure(result: CouplingResult) -> str:
    """Draw entanglement (along a stream, contraction), how far scores move, and a metric, over the knob.

    Raises:
        ArgumentError: If it holds no setting.
    """
    require(len(result.points) > 0, "Argument `result` must hold at least one setting, but it is empty.")
    columns, settings = result.columns(), [point.coupling for point in result.points]
    wanted = result.drawn_columns()[:_MOST_PANELS]
    figure, panels = new_figure(7.0, 2.2, panels=len(wanted), same_scale=False)
    for axes, name in zip(panels, wanted, strict=True):
        axes.plot(settings, columns[name], marker="o", markersize=4, color=BLUE)
        axes.axvline(1.0, color=GREY, linestyle=":", linewidth=0.8)
        axes.set(title=name, xlabel="coupling (1: learned)")
    return to_svg(figure, f"{', '.join(wanted)} at {len(settings)} settings of the coupling")


def write_coupling_figure(folder: Path, result: CouplingResult) -> Path:
    """Draw the knob's figure beside its data.

    Raises:
        QinnError: If the folder cannot be written.
    """
    [path] = write_figures(Path(folder), {Path(FIGURE).stem: coupling_figure(result)}, FIGURE_MARK)
    return path


def write_explanation_figures(folder: Path) -> list[Path]:
    """Draw the explanation in a folder, as SVG files beside its data.

    Args:
        folder: Folder with ``explanation.parquet`` and ``explanation.json``.

    Returns:
        The files written, among ``entropy.svg``, ``mutual_information.svg``, ``negativity.svg``,
        ``counterfactuals.svg``, ``sentences.svg`` and ``bloch.svg``; what the model has nothing of is left out.

    Raises:
        CheckpointError: If the data are missing or damaged.
        QinnError: If the folder cannot be written.
    """
    table = read_explanation(Path(folder))
    steps = read_steps(Path(folder), read_summary(Path(folder)).steps)
    figures = {
        "entropy": entropy_figure(table),
        "mutual_information": mutual_information_figure(table),
        "negativity": negativity_figure(table),
        "counterfactuals": counterfactual_figure(table),
        "sentences": None if steps is None else sentence_figure(steps),
        "bloch": None if steps is None else ball_figure(steps),
    }
    return write_figures(Path(folder), figures, FIGURE_MARK)

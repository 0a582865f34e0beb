"""Figures of explanations: entropies, information, counterfactuals."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from qinn.experiment.explanation import FIGURE_MARK
from qinn.report.drawings import drawn, plain, write_figures
from qinn.report.figures import (
    counterfactual_shifts,
    entropy_distributions,
    mutual_information_distributions,
)
from qinn.report.stream import ball_figure, sentence_figure
from qinn.results.explanation import ExplanationTable, read_explanation, read_summary
from qinn.results.steps import read_steps


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
    maximum = np.array([table.entropy_maximum[cut] for cut in cuts])
    return drawn(lambda: entropy_distributions([plain(cut) for cut in cuts], entropy, maximum))


def mutual_information_figure(table: ExplanationTable) -> str | None:
    """Draw the mutual information of every pair of modalities; None where there is none."""
    return _pairs_figure(table.mutual_information, "quantum mutual information")


def negativity_figure(table: ExplanationTable) -> str | None:
    """Draw the logarithmic negativity of every pair of modalities; None where there is none."""
    return _pairs_figure(table.negativity, "logarithmic negativity")


def _pairs_figure(pairs: Mapping[str, Float[np.ndarray, "sample"]], quantity: str) -> str | None:
    values = np.stack(list(pairs.values()), axis=1) if pairs else np.zeros((0, 0))
    if not values.size:
        return None
    names = [plain(pair) for pair in pairs]
    return drawn(lambda: mutual_information_distributions(names, values, quantity=quantity))


def counterfactual_figure(table: ExplanationTable) -> str | None:
    """Draw how far every removal moves the samples; None where nothing was removed."""
    shifts = table.shifts()
    if not shifts or not table.ids:
        return None
    columns = np.stack(list(shifts.values()), axis=1)
    return drawn(
        lambda: counterfactual_shifts([plain(name) for name in shifts], columns, unit=table.shifted_quantity)
    )


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

"""Explanations read back from a folder, and their figures: entropies, information, counterfactuals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from qinn.errors import CheckpointError
from qinn.experiment.explanation import FIGURE_MARK, check_explanation
from qinn.experiment.folder import RunFolder, read_json, read_table, write_text
from qinn.report.drawings import drawn, plain
from qinn.report.figures import (
    counterfactual_shifts,
    entropy_distributions,
    mutual_information_distributions,
)
from qinn.report.stream import ball_figure, read_steps, sentence_figure


@dataclass(frozen=True)
class ExplanationTable:
    """One explained sample per row; entropies and mutual information in bits.

    Attributes:
        ids: Sample identifiers.
        output: Scores or logits of the intact model.
        entropy: Cut → entanglement entropy, mean over trajectories; NaN for samples that lack a modality.
        entropy_peak: Cut → the largest entropy that any trajectory of the sample has.
        entropy_maximum: Cut → largest possible entropy, log₂ min(d_A, d_B).
        mutual_information: Pair of modalities → quantum mutual information on the averaged state.
        counterfactuals: Removal → scores or logits after it.
        negativity: Pair of modalities → logarithmic negativity of the averaged state.
        absent: Modalities that each sample lacks, joined by ``+``.
    """

    ids: tuple[str, ...]
    output: Float[np.ndarray, "sample output"]
    entropy: Mapping[str, Float[np.ndarray, "sample"]]
    entropy_peak: Mapping[str, Float[np.ndarray, "sample"]]
    entropy_maximum: Mapping[str, float]
    mutual_information: Mapping[str, Float[np.ndarray, "sample"]]
    counterfactuals: Mapping[str, Float[np.ndarray, "sample output"]]
    negativity: Mapping[str, Float[np.ndarray, "sample"]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    @property
    def is_classification(self) -> bool:
        """Whether the outputs are logits of several classes."""
        return self.output.shape[1] > 1

    @property
    def shifted_quantity(self) -> str:
        """What `shifts` are changes of, in words."""
        return "probability of the predicted class" if self.is_classification else "predicted score"

    def relative_entanglement(self) -> Float[np.ndarray, "sample"] | None:
        """Return S / S_max per sample, averaged over the cuts; None without entropies.

        Examples:
            >>> half = {"a | b": np.array([0.5])}
            >>> table = ExplanationTable(("x",), np.zeros((1, 1)), half, half, {"a | b": 1.0}, {}, {})
            >>> table.relative_entanglement()
            array([0.5])
        """
        shares = [
            values / self.entropy_maximum[cut]
            for cut, values in self.entropy.items()
            if self.entropy_maximum[cut] > 0
        ]
        return np.mean(shares, axis=0) if shares else None

    def shifts(self) -> dict[str, Float[np.ndarray, "sample"]]:
        """Return how far each removal moves each sample.

        Regression: score after the removal minus score before. Classification: change of the softmax
        probability of the class that the intact model predicts.

        Examples:
            >>> after = {"no jumps": np.array([[0.75]])}
            >>> ExplanationTable(("x",), np.array([[1.0]]), {}, {}, {}, {}, after).shifts()
            {'no jumps': array([-0.25])}
        """
        if not self.is_classification:
            return {name: after[:, 0] - self.output[:, 0] for name, after in self.counterfactuals.items()}
        rows, chosen = np.arange(len(self.ids)), self.output.argmax(axis=1)
        before = softmax(self.output, axis=1)[rows, chosen]
        return {
            name: softmax(after, axis=1)[rows, chosen] - before
            for name, after in self.counterfactuals.items()
        }


def read_explanation(folder: Path) -> ExplanationTable:
    """Read ``explanation.parquet`` and ``explanation.json``.

    Args:
        folder: A run folder, or any folder that `qinn explain` wrote.

    Returns:
        The explained samples, in the order of the file.

    Raises:
        CheckpointError: If a file is missing, damaged, not of its run, or does not hold what the other one announces.
    """
    run = RunFolder(folder)
    if not run.explanation_table.is_file():
        raise CheckpointError(
            f"`{run.explanation_table}` is missing; explain the run first with `qinn explain RUN`."
        )
    if run.is_complete and run.holds(run.explanation_table):
        table, content = run.table(run.explanation_table), run.json(run.explanation_file)
    else:
        table, content = read_table(run.explanation_table), read_json(run.explanation_file)
    check_explanation(run.explanation_file, content)

    def column(name: str) -> Float[np.ndarray, "sample"]:
        return table.column(name).to_numpy(zero_copy_only=False).astype(np.float64)

    def outputs(prefix: str) -> Float[np.ndarray, "sample output"]:
        count = sum(name.startswith("output_") for name in table.column_names)
        return np.stack([column(f"{prefix}_{index}") for index in range(count)], axis=1)

    try:
        cuts = [cut for cut in content["cuts"] if f"entropy:{cut}" in table.column_names]
        pairs = [pair for pair in content["pairs"] if f"mutual_information:{pair}" in table.column_names]
        tested = [pair for pair in content["pairs"] if f"negativity:{pair}" in table.column_names]
        return ExplanationTable(
            ids=tuple(table.column("id").to_pylist()),
            output=outputs("output"),
            entropy={cut: column(f"entropy:{cut}") for cut in cuts},
            entropy_peak={cut: column(f"entropy_trajectory_maximum:{cut}") for cut in cuts},
            entropy_maximum=dict(zip(content["cuts"], map(float, content["entropy_maximum"]), strict=True)),
            mutual_information={pair: column(f"mutual_information:{pair}") for pair in pairs},
            counterfactuals={name: outputs(f"counterfactual:{name}") for name in content["counterfactuals"]},
            negativity={pair: column(f"negativity:{pair}") for pair in tested},
            absent=tuple(table.column("absent").to_pylist()) if "absent" in table.column_names else (),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"`{run.explanation_table}` and `{run.explanation_file}` do not fit together ({error}); "
            "the folder is damaged, explain the run again."
        ) from error


def entropy_figure(table: ExplanationTable) -> str | None:
    """Draw the entropy of every cut that can be entangled at all; None where there is none.

    Args:
        table: Explained samples.

    Returns:
        SVG text.
    """
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
    """Draw the mutual information of every pair of modalities; None where there is none.

    Args:
        table: Explained samples.

    Returns:
        SVG text.
    """
    pairs = table.mutual_information
    if not pairs or not table.ids:
        return None
    information = np.stack(list(pairs.values()), axis=1)
    return drawn(lambda: mutual_information_distributions([plain(pair) for pair in pairs], information))


def negativity_figure(table: ExplanationTable) -> str | None:
    """Draw the logarithmic negativity of every pair of modalities; None where there is none.

    Args:
        table: Explained samples.

    Returns:
        SVG text.
    """
    pairs = table.negativity
    if not pairs or not table.ids:
        return None
    values = np.stack(list(pairs.values()), axis=1)
    names = [plain(pair) for pair in pairs]
    return drawn(lambda: mutual_information_distributions(names, values, quantity="logarithmic negativity"))


def counterfactual_figure(table: ExplanationTable) -> str | None:
    """Draw how far every removal moves the samples; None where nothing was removed.

    Args:
        table: Explained samples.

    Returns:
        SVG text.
    """
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
    steps = read_steps(Path(folder), read_json(Path(folder) / "explanation.json"))
    figures = {
        "entropy": entropy_figure(table),
        "mutual_information": mutual_information_figure(table),
        "negativity": negativity_figure(table),
        "counterfactuals": counterfactual_figure(table),
        "sentences": None if steps is None else sentence_figure(steps),
        "bloch": None if steps is None else ball_figure(steps),
    }
    written = []
    for name, svg in figures.items():
        if svg is not None:
            written.append(Path(folder) / f"{name}.svg")
            write_text(written[-1], f"{svg.rstrip()}\n{FIGURE_MARK}\n")
    return written

"""Explanations, as ``explanation.json`` and ``explanation.parquet`` hold them, and what removals do to metrics."""

# pyarrow, safetensors and yaml state few types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from qinn.errors import CheckpointError
from qinn.evaluation.outcomes import label_probabilities, probabilities_of
from qinn.formats import check_format
from qinn.results.as_json import OPTIONAL, OUTSIDE, document
from qinn.results.documents import object_of, parsed
from qinn.results.files import json_of, read_bytes, read_table, write_json
from qinn.results.folder import RunFolder
from qinn.results.steps import StepsSummary

FORMAT = "qinn-explanation"
VERSION = 2
"""Version 1 called outputs by their number: ``output_0``, ``counterfactual:no jumps_0``."""


def output_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return what the columns of a model's outputs are called: ``score``, or ``logit:NAME`` of each class or label.

    Args:
        names: The classes or labels; none where there is one score.

    Examples:
        >>> output_columns(()), output_columns(("sad", "glad"))
        (('score',), ('logit:sad', 'logit:glad'))
    """
    return tuple(f"logit:{name}" for name in names) or ("score",)


def columns_after(prefix: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return what the columns of outputs are called that are not those of the model as it is.

    Args:
        prefix: What was done to it.
        names: The classes or labels; none where there is one score.

    Examples:
        >>> columns_after("without", ()), columns_after("without", ("sad", "glad"))
        (('without',), ('without:sad', 'without:glad'))
    """
    return tuple(f"{prefix}:{name}" for name in names) or (prefix,)


@dataclass(frozen=True, kw_only=True)
class LabelRecord:
    """Of several labels the one whose probability is explained.

    Attributes:
        position: Which output it is, from 0.
    """

    name: str
    position: int


@dataclass(frozen=True, kw_only=True)
class ExplanationSummary:
    """Content of ``explanation.json``.

    Attributes:
        absent: Modality → number of samples that lack it.
        entropy_maximum: Largest possible entropy of each.
        mean: Column → its mean.
        steps: What the steps come to; None of a model that does not follow the stream.
        label: Of several labels the one that is explained; None of other tasks.
        outputs: What the outputs are of: the classes, or the labels; None where there is one score.
        remarks: What a user should know, which the file does not hold.
    """

    format: str = FORMAT
    version: int = VERSION
    qinn_version: str | None = None
    samples: int
    absent: Mapping[str, int] = field(default_factory=dict[str, int])
    cuts: tuple[str, ...]
    entropy_maximum: tuple[float, ...]
    pairs: tuple[str, ...]
    counterfactuals: tuple[str, ...]
    unit: str = "bits"
    mean: Mapping[str, float | None]
    steps: StepsSummary | None = field(default=None, metadata=OPTIONAL)
    label: LabelRecord | None = field(default=None, metadata=OPTIONAL)
    outputs: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    remarks: tuple[str, ...] = field(default=(), metadata=OUTSIDE)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, document(self))


@dataclass(frozen=True)
class ExplanationTable:
    """One explained sample per row; entropies and mutual information in bits.

    Attributes:
        output: Scores or logits of the intact model.
        entropy: Cut → entanglement entropy, mean over trajectories; NaN for samples that lack a modality.
        entropy_peak: Cut → the largest entropy that any trajectory of the sample has.
        entropy_maximum: Cut → largest possible entropy, log₂ min(d_A, d_B).
        mutual_information: Pair of modalities → quantum mutual information on the averaged state.
        counterfactuals: Removal → scores or logits after it.
        negativity: Pair of modalities → logarithmic negativity of the averaged state.
        absent: Modalities that each sample lacks, joined by ``+``.
        label: Of several labels the one that is explained; None of other tasks.
    """

    ids: tuple[str, ...]
    output: Float[np.ndarray, "sample output"]
    entropy: Mapping[str, Float[np.ndarray, "sample"]]
    entropy_peak: Mapping[str, Float[np.ndarray, "sample"]]
    entropy_maximum: Mapping[str, float]
    mutual_information: Mapping[str, Float[np.ndarray, "sample"]]
    counterfactuals: Mapping[str, Float[np.ndarray, "sample output"]]
    negativity: Mapping[str, Float[np.ndarray, "sample"]] = field(
        default_factory=dict[str, Float[np.ndarray, "sample"]]
    )
    absent: tuple[str, ...] = ()
    label: LabelRecord | None = None

    @property
    def is_classification(self) -> bool:
        """Whether the outputs are logits of several classes."""
        return self.output.shape[1] > 1 and self.label is None

    @property
    def shifted_quantity(self) -> str:
        """What `shifts` are changes of, in words."""
        if self.label is not None:
            return f"probability of {self.label.name}"
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
        probability of the class that the intact model predicts. Several labels: of the probability of `label`.

        Examples:
            >>> after = {"no jumps": np.array([[0.75]])}
            >>> ExplanationTable(("x",), np.array([[1.0]]), {}, {}, {}, {}, after).shifts()
            {'no jumps': array([-0.25])}
        """
        if self.label is not None:
            at = self.label.position
            before = label_probabilities(self.output[:, at])
            return {
                name: label_probabilities(after[:, at]) - before
                for name, after in self.counterfactuals.items()
            }
        if not self.is_classification:
            return {name: after[:, 0] - self.output[:, 0] for name, after in self.counterfactuals.items()}
        rows, chosen = np.arange(len(self.ids)), self.output.argmax(axis=1)
        before = probabilities_of(self.output)[rows, chosen]
        return {
            name: probabilities_of(after)[rows, chosen] - before
            for name, after in self.counterfactuals.items()
        }


def read_summary(folder: Path, run: RunFolder | None = None) -> ExplanationSummary:
    """Read ``explanation.json``.

    Args:
        folder: The folder.
        run: The run that must name it; None where it is of no run.

    Raises:
        CheckpointError: If it is missing, damaged or not of the run.
    """
    path = folder / "explanation.json"
    content = read_bytes(path) if run is None else run.content(path)
    remedy = "explain the run again"
    stated = {"version": 1, **(object_of(json_of(content, path)) or {})}
    check_format(path, stated, range(1, VERSION + 1), remedy=remedy, error=CheckpointError)
    return replace(parsed(content, path, ExplanationSummary, remedy=remedy), version=stated["version"])


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
        table, summary = run.table(run.explanation_table), read_summary(folder, run)
    else:
        table, summary = read_table(run.explanation_table), read_summary(folder)

    def column(name: str) -> Float[np.ndarray, "sample"]:
        return table.column(name).to_numpy(zero_copy_only=False).astype(np.float64)

    names = summary.outputs or ()
    count = sum(name.startswith("output_") for name in table.column_names)

    def outputs(prefix: str = "") -> Float[np.ndarray, "sample output"]:
        if summary.version == 1:
            called = tuple(f"{prefix or 'output'}_{index}" for index in range(count))
        else:
            called = columns_after(prefix, names) if prefix else output_columns(names)
        return np.stack([column(name) for name in called], axis=1)

    try:
        cuts = [cut for cut in summary.cuts if f"entropy:{cut}" in table.column_names]
        pairs = [pair for pair in summary.pairs if f"mutual_information:{pair}" in table.column_names]
        tested = [pair for pair in summary.pairs if f"negativity:{pair}" in table.column_names]
        return ExplanationTable(
            ids=tuple(table.column("id").to_pylist()),
            output=outputs(),
            entropy={cut: column(f"entropy:{cut}") for cut in cuts},
            entropy_peak={cut: column(f"entropy_trajectory_maximum:{cut}") for cut in cuts},
            entropy_maximum=dict(zip(summary.cuts, summary.entropy_maximum, strict=True)),
            mutual_information={pair: column(f"mutual_information:{pair}") for pair in pairs},
            counterfactuals={name: outputs(f"counterfactual:{name}") for name in summary.counterfactuals},
            negativity={pair: column(f"negativity:{pair}") for pair in tested},
            absent=tuple(table.column("absent").to_pylist()) if "absent" in table.column_names else (),
            label=summary.label,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"`{run.explanation_table}` and `{run.explanation_file}` do not fit together ({error}); "
            "the folder is damaged, explain the run again."
        ) from error

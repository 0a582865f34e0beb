"""Why a model says what it says about samples in memory."""

from dataclasses import dataclass
from typing import Any

from qinn.data.subsets.subset import Subset
from qinn.experiment.explanation import absent_counts, column_means, explained_label, explanation_columns
from qinn.experiment.steps import ExplainedSteps, always_together, step_columns
from qinn.explain.explanation import explain
from qinn.explain.memory_axis import memory_axis
from qinn.explain.steps import explain_steps
from qinn.face.fitting import Fitted, apart
from qinn.records import Explanation
from qinn.results.explanation import LabelRecord
from qinn.results.frames import Columns, frame_of
from qinn.results.number_text import FINE, counted, number
from qinn.results.steps import TOGETHER
from qinn.results.tables import Cell, Table, columns
from qinn.task import Task


@dataclass(frozen=True, eq=False)
class ExplainedSamples:
    """Explanations of some samples: what `qinn explain` writes, in memory.

    Attributes:
        explanation: Entropies, correlations and counterfactual outputs of every sample.
        task: What the model predicts.
        steps: Of a model along the stream, what every step does; None for others.
        remarks: What a user should know about them.
        label: Of several labels the one that is explained; None of other tasks.
    """

    explanation: Explanation
    task: Task
    steps: ExplainedSteps | None
    remarks: tuple[str, ...] = ()
    label: LabelRecord | None = None

    def __len__(self) -> int:
        return len(self.explanation.ids)

    @property
    def columns(self) -> Columns:
        """One column per quantity and one entry per sample, named as in ``explanation.parquet``."""
        return explanation_columns(self.explanation, self.task, self.label)

    @property
    def means(self) -> dict[str, float | None]:
        """Mean of every numeric column over the samples that have it; None where none has."""
        return column_means(self.columns)

    def to_frame(self) -> Any:
        """Return the columns as a pandas data frame.

        Raises:
            MissingPackageError: If pandas is not installed.
        """
        return frame_of(self.columns)

    def steps_frame(self) -> Any:
        """Return what every step does as a pandas data frame, with the columns of ``steps.parquet``.

        Raises:
            ArgumentError: If the model does not follow the stream.
            MissingPackageError: If pandas is not installed.
        """
        return frame_of(step_columns(self.steps.steps, self.task) if self.steps is not None else {})

    def _repr_html_(self) -> str:
        rows = tuple((Cell(name), Cell(number(mean, digits=FINE))) for name, mean in self.means.items())
        caption = f"Means over {counted(len(self), 'sample')}."
        return Table(caption, columns("quantity", "mean"), rows, notes=self.remarks).to_html()


def explained_samples(
    fitted: Fitted, subset: Subset, *, threads: int, label: str | None = None
) -> ExplainedSamples:
    """Explain samples with a fitted model.

    Args:
        fitted: The model.
        subset: Samples.
        threads: Threads of torch.
        label: Of several labels the one that is explained; the first if None.

    Raises:
        ArgumentError: If the task has no such label, or no labels.
    """
    remarks: list[str] = []
    chosen = explained_label(subset.task, label)
    axis, source = fitted.axis, "the validation samples of the fit"
    with apart(threads):
        explanation = explain(fitted.model, subset)
        if chosen is not None and chosen.position and axis is not None:
            # What is kept of the fit is the axis of the first label.
            axis, source = (
                memory_axis(fitted.model, subset, label=chosen.position),
                "the explained samples",
            )
        steps = explain_steps(fitted.model, subset, axis)
    for name, count in absent_counts(explanation).items():
        remarks.append(f"{count} of {len(subset)} samples lack `{name}`.")
    if chosen is not None and label is None:
        remarks.append(
            f"What is explained is the probability of `{chosen.name}`, the first of several labels; argument `label` "
            f"takes another ({', '.join(subset.task.names[1:])})."
        )
    if steps is None:
        return ExplainedSamples(explanation, subset.task, None, tuple(remarks), chosen)
    if always_together(steps):
        remarks.append(TOGETHER)
    return ExplainedSamples(
        explanation, subset.task, ExplainedSteps(steps, axis, source), tuple(remarks), chosen
    )

"""The sections of the report: what is shown about a comparison and about a run, in which order."""

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from qinn.evaluation.metric_names import metrics_of, of_label
from qinn.report.absence_figures import absence_exhibits
from qinn.report.bloch_figure import ball_figure
from qinn.report.comparison_figures import difference_figures, forest_figures, forest_plot
from qinn.report.explanation_figures import (
    counterfactual_figure,
    coupling_figure,
    entropy_figure,
    mutual_information_figure,
    negativity_figure,
)
from qinn.report.facts import activity_facts, data_facts, metric_legend, provenance_facts, sample_facts
from qinn.report.figure_style import plain
from qinn.report.numbering import Exhibit, Numbering
from qinn.report.run_figures import (
    activity_figure,
    confusion_figure,
    coverage_curve,
    learning_curve_figure,
    regression_figure,
)
from qinn.report.sample_blocks import SampleBlock, sample_blocks
from qinn.report.sentence_figure import sentence_figure
from qinn.results.chosen_samples import choose_samples
from qinn.results.comparison import ComparisonResult, cpu_seconds, runs_table, units
from qinn.results.coupling import CouplingResult
from qinn.results.coverage import Coverage
from qinn.results.explanation import ExplanationTable
from qinn.results.metric_columns import SIGNIFICANCE
from qinn.results.number_text import brief, counted, percent
from qinn.results.run import RunResult
from qinn.results.steps import ShownSteps
from qinn.results.sweep import read_own_sweeps

_DRAWN = 4  # metrics; the table has them all
_CONFIGURED = ("encoder", "models", "training", "evaluation")


@dataclass(frozen=True)
class Part:
    """A part of a section: a heading and whatever of the rest it has."""

    title: str
    text: str = ""
    facts: Sequence[tuple[str, str]] = ()
    configuration: str = ""
    exhibits: Sequence[Exhibit] = ()
    legend: Sequence[tuple[str, str]] = ()
    samples: Sequence[SampleBlock] = ()


@dataclass(frozen=True)
class Section:
    """A comparison or a run."""

    anchor: str
    title: str
    parts: Sequence[Part]


def comparison_section(result: ComparisonResult, anchor: str, numbering: Numbering) -> Section:
    """Return everything about a comparison: what was run, results, metrics, training."""
    summaries = {
        label: [run.summary() for run in result.runs(label)]
        for label, entry in result.models.items()
        if entry.runs
    }
    facts = [
        ("folder", result.folder.name),
        *data_facts(result.data),
        *sample_facts(result.num_test, result.num_groups, summaries[result.reference][0].folds),
        ("models", ", ".join(result.models)),
        ("reference", result.reference),
        ("seeds", ", ".join(map(str, result.seeds))),
        *provenance_facts(result, trained_at=result.trained_at),
    ]
    names, sweeps = result.metric_names, read_own_sweeps(result)
    parts = [
        Part("What was run", facts=facts),
        Part(
            "Results",
            exhibits=[
                *numbering.table(result.table()),
                *numbering.table(result.labels_table()),
                *numbering.table(result.ensemble_table()),
                *numbering.figure(
                    forest_figures(result, names[:_DRAWN]),
                    f"{', '.join(names[:_DRAWN])} of every model on the test samples: "
                    f"mean over {counted(len(result.seeds), 'seed')} and "
                    f"{percent(result.level)} interval over {units(result.num_groups)}"
                    f"{' and seeds' * result.over_seeds}, as in the table above. Square and dashed line: the reference "
                    f"{result.reference}.",
                ),
                *numbering.table(result.paired_table()),
                *numbering.figure(
                    difference_figures(result, names[:_DRAWN]),
                    f"Differences to {result.reference} with their verdicts. Thin: the {percent(result.level)} "
                    f"interval; thick: the {percent(1 - 2 * SIGNIFICANCE)} interval, which lies within the margin "
                    "where two one-sided tests find equivalence, before Holm's correction. Band: the margin, where one "
                    "was stated.",
                ),
            ],
        ),
        Part("What the metrics mean", legend=metric_legend(result.task, names)),
        Part("How the runs were trained", exhibits=numbering.table(runs_table(summaries))),
    ]
    if sweeps:
        exhibits = [one for sweep in sweeps for one in absence_exhibits(sweep, numbering)]
        parts.append(Part("Missing modalities", exhibits=exhibits))
    return Section(anchor, f"Comparison: {result.name}", parts)


def run_section(run: RunResult, anchor: str, numbering: Numbering) -> Section:
    """Return everything about one run: what was run, metrics, training, predictions, explanation."""
    summary = run.summary
    facts = [
        ("folder", "/".join(run.path.parts[-2:])),
        ("model", f"{summary.label} ({summary.model}), {summary.num_parameters:,} parameters"),
        ("seed", str(summary.seed)),
        *data_facts(summary.data),
        *sample_facts(len(run.ids), run.num_groups, summary.folds),
        *activity_facts(summary),
        ("started", f"{summary.started}, took {summary.seconds:,.1f} s"),
        ("training", f"{cpu_seconds(summary.cpu_seconds)} s on the processor (all threads and folds)"),
        *provenance_facts(summary),
    ]
    configured = {key: run.config[key] for key in _CONFIGURED if key in run.config}
    parts = [
        Part(
            "What was run",
            facts=facts,
            configuration=yaml.safe_dump(configured, sort_keys=False, allow_unicode=True, width=60).strip(),
        ),
        Part(
            "Metrics",
            exhibits=[
                *numbering.table(run.table()),
                *numbering.table(run.labels_table()),
                *numbering.table(run.folds_table()),
            ],
        ),
        _training_part(run, numbering),
        _prediction_part(run, numbering),
    ]
    if run.coverage is not None:
        parts.append(_certainty_part(run, run.coverage, numbering))
    if run.explanation is not None:
        parts += _explanation_parts(run, run.explanation, numbering)
    if run.coupling is not None:
        parts.append(_coupling_part(run, run.coupling, numbering))
    if run.steps is not None:
        parts.append(_steps_part(run, run.steps, numbering))
    return Section(anchor, f"Run: {run.title} ({summary.name})", parts)


_ACTING = {
    "jumps": "expected jumps of a trajectory, ∫ tr(Σ L†L ρ) dt",
    "turning": "the largest angle by which H turns phases",
    "gap": "the spectral gap times T",
    "entanglement": "entanglement entropy after the evolution",
    "contraction": "contraction, how much of the memory a step makes it forget",
    "rotation": "rotation, the angle by which a step turns it",
}


def _training_part(run: RunResult, numbering: Numbering) -> Part:
    histories = {fold: rows for fold, rows in run.histories.items() if rows}
    if not histories:
        return Part(
            "Training", text="This model has nothing to train by gradient, so it has no learning curve."
        )
    chosen = run.best_epochs
    where = (
        f"epoch {next(iter(chosen.values()))}"
        if len(histories) == 1
        else "the epoch marked in each of the folds"
    )
    losses = numbering.figure(
        {f"Training and validation loss of {run.title} over epochs": learning_curve_figure(run)},
        f"Learning curves of {run.title}: the loss on the training samples, averaged over the epoch while the weights "
        f"change, and on the validation samples after it. Epochs are numbered from 0. The weights of {where} were "
        f"kept, chosen by {run.monitor} on validation samples alone.",
    )
    recorded = {name for rows in histories.values() for row in rows for name in row}
    stated = [wording for name, wording in _ACTING.items() if f"dynamics_{name}" in recorded]
    acting = numbering.figure(
        {f"How much the dynamics of {run.title} do, over epochs": activity_figure(run)},
        f"How much the learned dynamics of {run.title} do to the first validation samples, after each epoch: "
        f"{'; '.join(stated)}. Dotted: below both lines the dynamics sleep.",
    )
    return Part("Training", exhibits=[*losses, *acting])


def _prediction_part(run: RunResult, numbering: Numbering) -> Part:
    if run.task.kind == "multilabel":
        return _labels_part(run, numbering)
    if run.task.kind == "regression":
        exhibits = numbering.figure(
            {"Predicted against true score": regression_figure(run)},
            f"Predicted against true score of the {counted(len(run.ids), 'test sample')} of {run.title}; on the dashed "
            f"line the prediction is right. The scale runs from {brief(run.task.low)} to {brief(run.task.high)}; "
            "predictions are not clipped.",
        )
    else:
        exhibits = numbering.figure(
            {
                "Confusion matrix: true class in rows, predicted class in columns": confusion_figure(
                    run.confusion(), run.task.classes, run.summary.data.label_name
                )
            },
            f"Confusion matrix of {run.title} on its {counted(len(run.ids), 'test sample')}: share of the true class "
            "(every row adds up to 100 %) and number of samples. The predicted class is the one with the largest "
            "logit.",
        )
    return Part("Predictions", exhibits=exhibits)


def _labels_part(run: RunResult, numbering: Numbering) -> Part:
    """Return how well each of several labels is told, with its interval."""
    known, figures = metrics_of(run.task), dict[str, str]()
    for name in ("weighted_accuracy", "f1_binary", "auc"):
        found = {label: run.test[of_label(name, label)] for label in run.task.names}
        figures[f"{name} of every label with its interval"] = forest_plot(
            [plain(label, 30) for label in found],
            [one.value for one in found.values()],
            [(one.low, one.high) for one in found.values()],
            metric=name,
            better=known[name].direction,
            of="labels",
        )
    return Part(
        "Predictions",
        exhibits=numbering.figure(
            figures,
            f"How well {run.title} tells each label on its {counted(len(run.ids), 'test sample')}, with "
            f"{percent(run.level)} intervals. A model that says nothing has a weighted accuracy and an area under the "
            "curve of 0.5.",
        ),
    )


def _certainty_part(run: RunResult, coverage: Coverage, numbering: Numbering) -> Part:
    what = "intervals" if coverage.low is not None else "sets of classes"
    what = "sets (absent, present or both) of single labels" if coverage.of_labels else what
    curve = numbering.figure(
        {f"Share of test labels in the {what} of every level": coverage_curve(coverage.curve)},
        f"How many labels of the {counted(len(run.ids), 'test sample')} lie in the {what} that {run.title} gives at "
        "each level; below the dashed line it is surer than it should be.",
    )
    return Part("How sure it is", exhibits=[*numbering.table(coverage.table(run.title)), *curve])


def _steps_part(run: RunResult, shown: ShownSteps, numbering: Numbering) -> Part:
    of_fold = f" of fold {shown.fold}" if len(run.summary.folds) > 1 else ""
    what = (
        f"{counted(shown.summary.steps, 'step')} of {counted(shown.summary.samples, 'test sample')}{of_fold}"
    )
    sentences = numbering.figure(
        {"Sentences in the colours of what their words do to the memory": sentence_figure(shown)},
        f"Test samples{of_fold} of {run.title}, those whose words reset and invert most: each word on the colour of "
        "what it does to the memory, the stronger the more it does; other modalities' steps as marks at their times; "
        "beneath, the score that is read from the memory behind each step.",
    )
    ball = numbering.figure(
        {"The Bloch ball under the maps of words": ball_figure(shown)},
        "What becomes of all that the memory, a qubit, may hold: the Bloch ball seen from the side before a step "
        "(circle) and behind it (ellipse), averaged over the occurrences of a word, or of what the steps in brackets "
        "do. Upwards is the memory's axis, from what is read as a low score to what is read as a high one; triangles: "
        "where its poles go.",
    )
    skipped = shown.summary.skipped_samples
    text = (
        "Each step meets the memory once; its verdict says what it does to whatever the memory holds, not what the "
        "word means."
    )
    if skipped:
        text += f" {counted(skipped, 'sample')} were left out, since they would have taken too long."
    if not sentences and shown.summary.words:
        text += " Sentences are drawn where the report may show texts (`--include-text`)."
    return Part(
        "Step by step",
        text=text,
        exhibits=[
            *sentences,
            *ball,
            *numbering.table(shown.summary.words_table(what)),
            *numbering.table(shown.summary.verdict_table()),
        ],
    )


def _left_out(explanation: ExplanationTable) -> str:
    """Say how many samples have no entropies, since their states are mixed."""
    count = sum(bool(absent) for absent in explanation.absent)
    if not count:
        return ""
    return (
        f"; {counted(count, 'sample')} that lack a modality are left out: their states are mixed from the start, and "
        "the entropy of a part of a mixed state is not entanglement"
    )


def _coupling_part(run: RunResult, turned: CouplingResult, numbering: Numbering) -> Part:
    figure = numbering.figure(
        {f"{run.title} along its coupling": coupling_figure(turned)},
        f"{run.title} with what couples its modalities (along a stream, memory and what is met) made weaker and "
        "stronger. Dotted: what was learned. Entanglement need not grow with the coupling: a Hamiltonian's oscillates.",
    )
    table = numbering.table(turned.table(run.title))
    return Part("Along the coupling", exhibits=[*figure, *table])


def _explanation_parts(run: RunResult, explanation: ExplanationTable, numbering: Numbering) -> list[Part]:
    over = f"over {counted(len(explanation.ids), 'test sample')} of {run.title}"
    quantity = explanation.shifted_quantity
    entangled = numbering.figure(
        {"Entanglement entropy of every cut": entropy_figure(explanation)},
        f"Entanglement entropy of every cut between the modalities, in bits, {over}: the von Neumann entropy of one "
        "side of the cut in each trajectory's pure state, averaged over the sample's "
        f"trajectories{_left_out(explanation)}. Dashed: the largest possible value, log₂ of the smaller dimension of "
        "the two sides.",
    )
    correlated = numbering.figure(
        {
            "Mutual information of every pair of modalities": mutual_information_figure(explanation),
            "Logarithmic negativity of every pair of modalities": negativity_figure(explanation),
        },
        "Quantum mutual information S(A) + S(B) − S(AB) and logarithmic negativity log₂‖ρ^T_A‖₁ of every pair of "
        f"modalities, in bits, on the state averaged over trajectories, {over}. Mutual information counts classical "
        "correlation as well as entanglement; negativity is 0 unless the pair is entangled. Both are defined for mixed "
        "states, so for samples that lack a modality too.",
    )
    removed = numbering.figure(
        {f"Change of the {quantity} under every removal": counterfactual_figure(explanation)},
        f"Change of the {quantity} when one part of the trained model, or one modality, is removed (after minus "
        f"before), {over}. Nothing is trained again: a large change says that the model uses what was removed, not "
        "that another model could not do without it.",
    )
    parts = []
    if entangled or correlated:
        parts.append(Part("Entanglement and correlation", exhibits=[*entangled, *correlated]))
    if removed:
        parts.append(Part("Counterfactuals", exhibits=[*removed, *numbering.table(run.removal_table())]))
    chosen = choose_samples(run, explanation)
    if chosen:
        parts.append(
            Part(
                "Samples explained",
                text="Chosen by rule: the largest and the median error, the most and the least entangled "
                "sample (entropy over its maximum, averaged over the cuts), the largest change by any removal, and the "
                "largest standard deviation over trajectories, as far as the run has them; ties go to the first id. "
                "Entropies: mean over the sample's trajectories, as a share of the largest possible value; the line "
                "marks the largest trajectory. Counterfactuals: the prediction after each removal; all bars share one "
                "scale.",
                samples=sample_blocks(run, explanation, chosen),
            )
        )
    return parts

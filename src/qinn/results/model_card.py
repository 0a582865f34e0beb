"""The page that goes with a published model: what it is, how good, on which data, and what it is not for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from qinn.escaping import markdown_code, markdown_text, visible
from qinn.evaluation.intervals import Interval
from qinn.evaluation.metric_names import metrics_of
from qinn.results.evaluation import intervals_table
from qinn.results.metric_columns import metric_names
from qinn.results.number_text import brief, counted, number
from qinn.results.summary import NO_CHECKOUT, RunSummary, commits_of
from qinn.task import Task

NOT_STATED = "not stated"
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,60}")

_NOT_FOR = """\
- **Expressions are not feelings.** The model was taught what annotators said of recordings. It does not know what a
  person feels, thinks or intends.
- It is no basis for decisions about single people (hiring, credit, health, policing, education), and none for watching
  people who have not agreed to it.
- Nothing is known of speakers, languages, cultures and recordings that are unlike the data below; errors differ
  between people, as the worst group of an interval's coverage shows (`qinn report` of the run).
- An interval holds the stated share of labels over many samples that are made as those of training were, not of each
  person, and not where features are made otherwise (`qinn calibrate` mends that, on labelled samples of your own)."""

_LEFT_OUT = (
    "No sample, label or prediction of a sample is in this folder; `calibration.json` holds errors on samples held "
    "out, sorted and without names."
)


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What the page is made of.

    Attributes:
        runs: The run, or those of all seeds.
        metrics: Metrics on the test samples, of the mean over the seeds, with intervals.
        level: Level of the intervals.
        num_test: How many samples they are of.
        calibration: Of what intervals of predictions are made; empty where nothing was held out.
        license: Of the weights, as the person who publishes them states it.
        data_terms: What the data are, who is in them and under which terms, likewise.
        has_recipe: Whether the folder says how files are read.
        vocabularies: Modality → number of words of the training data that the folder holds.
    """

    runs: Sequence[RunSummary]
    metrics: Mapping[str, Interval]
    level: float
    num_test: int
    calibration: str
    license: str
    data_terms: str
    has_recipe: bool
    vocabularies: Mapping[str, int]

    def to_markdown(self) -> str:
        """Return the page, with the head in YAML that model hubs read."""
        head = yaml.safe_dump(self._head(), sort_keys=False, allow_unicode=True, width=100)
        return f"---\n{head}---\n\n{self._body()}"

    def _head(self) -> dict[str, object]:
        first, known = self.runs[0], metrics_of(self.runs[0].task)
        kind = {"multilabel": "multi-label-classification"}.get(first.task.kind, first.task.kind)
        return {
            "library_name": "qinn",
            # What hubs know are identifiers; a text stands in the body.
            "license": self.license if _IDENTIFIER.fullmatch(self.license) else "other",
            "pipeline_tag": "video-classification",
            "tags": ["multimodal", "sentiment-analysis", "quantum-inspired", kind],
            "model-index": [
                {
                    "name": visible(f"{first.label} on {first.data.name}"),
                    "results": [
                        {
                            "task": {"type": "video-classification", "name": kind},
                            "dataset": {"name": visible(first.data.name), "type": visible(first.data.name)},
                            "metrics": [
                                {
                                    "type": name,
                                    "name": known[name].label if name in known else name,
                                    "value": self.metrics[name].value,
                                }
                                for name in metric_names(first.task, self.metrics)
                                if self.metrics[name].value is not None
                            ],
                        }
                    ],
                }
            ],
        }

    def _body(self) -> str:
        first = self.runs[0]
        seeds = (
            f"The mean of {counted(len(self.runs), 'seed')}" if len(self.runs) > 1 else f"Seed {first.seed}"
        )
        folds = len(first.folds)
        sections = {
            "What it predicts": f"{_task_text(first.task, first.data.label_name)}\n\n{self._modalities()}",
            "How to use it": self._usage(),
            "How good it is": (
                f"{counted(self.num_test, 'test sample')} of {markdown_code(first.data.name)}"
                + (f", each by the model of the fold that left it out ({folds} folds)" if folds > 1 else "")
                + f"; bootstrap intervals of level {brief(self.level)}.\n\n{self._table()}\n\n"
                + (
                    f"Intervals and sets of predictions are made of the errors of {markdown_text(self.calibration)}."
                    if self.calibration
                    else "Nothing was held out that says how far a single prediction is off."
                )
            ),
            "What its dynamics do": _dynamics_text(self.runs),
            "What it is not for": _NOT_FOR,
            "Data and licences": self._terms(),
            "How it was made": self._provenance(),
        }
        title = f"# {markdown_text(first.label)} on {markdown_text(first.data.name)}\n\n"
        lead = (
            f"{seeds} of a model of kind {markdown_code(first.model)} ({first.num_parameters:,} parameters"
            f"{' each' if len(self.runs) > 1 else ''}), trained with qinn {first.versions.get('qinn', '')}.\n"
        )
        return title + lead + "".join(f"\n## {name}\n\n{text}\n" for name, text in sections.items())

    def _modalities(self) -> str:
        lines = [
            f"- {markdown_code(name)}: {counted(one.dim, 'feature')} {'a step' if one.sequence else 'a sample'}, "
            f"made by {markdown_code(one.tier) if one.tier else NOT_STATED}"
            for name, one in self.runs[0].data.modalities.items()
        ]
        return "From:\n\n" + "\n".join(lines)

    def _usage(self) -> str:
        what = (
            "qinn predict THIS_FOLDER NEW_FILES    # files as the training data were"
            if self.has_recipe
            else "qinn predict THIS_FOLDER STORE        # samples that `qinn data import` made"
        )
        one = "THIS_FOLDER" if len(self.runs) == 1 else f"THIS_FOLDER/seed-{self.runs[0].seed}"
        lines = [
            "pip install qinn",
            what,
            f"qinn explain {one} …",
            f"python -c \"import qinn; qinn.load('{one}')\"",
        ]
        return "\n".join(["```sh", *lines, "```"])

    def _table(self) -> str:
        known = metrics_of(self.runs[0].task)
        names = metric_names(self.runs[0].task, self.metrics)
        labels = {name: known[name].label for name in names if name in known}
        return intervals_table({name: self.metrics[name] for name in names}, labels).to_markdown().rstrip()

    def _terms(self) -> str:
        first = self.runs[0]
        counts = [
            f"{fold.num_train} training, {fold.num_valid} validation and {fold.num_test} test samples"
            for fold in first.folds[:1]
        ]
        words = [
            f"The folder holds {counted(number, 'word')} of the training texts ({markdown_code(name)})."
            for name, number in self.vocabularies.items()
        ]
        return "\n".join(
            [
                f"- Weights: {markdown_text(self.license) if self.license else NOT_STATED}",
                f"- Data: {markdown_text(self.data_terms) if self.data_terms else NOT_STATED}",
                f"- {markdown_code(first.data.name)}, content hash {markdown_code(first.data.sha256[:12])}: "
                f"{counts[0]}{' in the first fold' if len(first.folds) > 1 else ''}",
                f"- {' '.join([_LEFT_OUT, *words])}",
            ]
        )

    def _provenance(self) -> str:
        first = self.runs[0]
        made = ", ".join(f"{name} {version}" for name, version in first.versions.items())
        remarks = [
            f"- {markdown_text(one)}" for one in dict.fromkeys(r for run in self.runs for r in run.remarks)
        ]
        commits = commits_of(self.runs)
        lines = [
            f"- Seeds: {', '.join(str(run.seed) for run in self.runs)}",
            f"- Commit: {', '.join(map(markdown_code, commits)) if commits != (NO_CHECKOUT,) else NOT_STATED}",
            f"- Versions: {markdown_text(made)}",
            "- Every file's hash is in `run.json`; `qinn info THIS_FOLDER` checks them.",
            *remarks,
        ]
        return "\n".join(lines)


def _task_text(task: Task, label_name: str) -> str:
    named = f" ({markdown_code(label_name)})" if label_name else ""
    if task.kind == "regression":
        return f"A score from {brief(task.low)} to {brief(task.high)}{named}."
    if task.kind == "multilabel":
        labels = ", ".join(markdown_code(one) for one in task.names)
        since = f"each from a probability of {brief(task.cut)} on"
        return f"Which of {len(task.names)} labels are present, {since}: {labels}."
    return (
        f"One of {len(task.classes)} classes{named}: {', '.join(markdown_code(one) for one in task.classes)}."
    )


def _dynamics_text(runs: Sequence[RunSummary]) -> str:
    found = [run.dynamics for run in runs if run.dynamics is not None]
    if not found:
        return "It has no learned dynamics."
    named = {
        "jumps of a trajectory": [one.jumps for one in found],
        "largest angle by which the Hamiltonian turns phases (rad)": [one.turning for one in found],
        "entanglement (bits)": [one.entanglement for one in found],
        "share of the memory that a step forgets": [one.contraction for one in found],
        "angle by which a step turns the memory (rad)": [one.rotation for one in found],
    }
    lines = [
        f"- {name}: {', '.join(number(value) for value in values)}"
        for name, values in named.items()
        if any(value is not None for value in values)
    ]
    return (
        "Means over test samples" + (", seed by seed" if len(runs) > 1 else "") + ":\n\n" + "\n".join(lines)
    )

"""Facts in words: what was run on which data, by which code, and what its metrics mean."""

from collections.abc import Mapping, Sequence
from typing import Any

from qinn.evaluation.conventions import metrics_of
from qinn.explain.attractor import certificate_words
from qinn.report.results import RunResult
from qinn.report.wording import brief, counted, span
from qinn.task import Task

Fact = tuple[str, str]
"""A term and what is said about it."""


def metric_legend(task: Task, names: Sequence[str]) -> list[Fact]:
    """Spell out every metric's convention, direction and when it is undefined.

    Args:
        task: What is predicted.
        names: Metrics.

    Returns:
        Metric name → wording.

    Examples:
        >>> metric_legend(Task("regression", -3.0, 3.0, "mosi"), ["mae"])
        [('mae', 'mean absolute error, unclipped; lower is better.')]
    """
    known = metrics_of(task)
    return [
        (
            name,
            f"{known[name].label}; {known[name].direction} is better"
            + (
                ""
                if known[name].undefined_when == "never"
                else f"; undefined if {known[name].undefined_when}"
            )
            + ".",
        )
        for name in names
        if name in known
    ]


def data_facts(data: Mapping[str, Any], task: Task) -> list[Fact]:
    """State the data set, its hash, the task, the modalities and the split.

    Args:
        data: Entry ``data`` of ``run.json`` or ``comparison.json``.
        task: What is predicted.

    Returns:
        Term → wording.
    """
    stated = (
        f"regression on [{brief(task.low)}, {brief(task.high)}], conventions: {task.scale}"
        if task.kind == "regression"
        else f"classification into {', '.join(task.classes)}"
    )
    modalities = "; ".join(
        f"{name} ({entry['dim']} features{' per step' if entry['sequence'] else ''}"
        f"{', ' + entry['tier'] if entry['tier'] else ''})"
        for name, entry in data["modalities"].items()
    )
    splits = {
        "fixed": "the data set's own training, validation and test split",
        "fold": "cross-validation over the data set's own folds",
        "group": "cross-validation, one group left out at a time",
    }
    return [
        ("data", data["name"]),
        ("data SHA-256", data["sha256"]),
        ("task", stated),
        ("modalities", modalities),
        ("split", splits.get(data["split"], str(data["split"]))),
    ]


def sample_facts(run: RunResult) -> list[Fact]:
    """State how many samples the run was tested, trained and selected on.

    Args:
        run: A run.

    Returns:
        Term → wording.
    """
    groups = f" in {counted(len(set(run.groups)), 'group')}" if run.groups else ""
    tested = ("test samples", f"{len(run.ids):,}{groups}")
    folds = run.summary["folds"]
    if len(folds) == 1:
        return [
            tested,
            ("training samples", f"{folds[0]['num_train']:,}"),
            ("validation samples", f"{folds[0]['num_valid']:,}"),
        ]
    train, valid = ([fold[key] for fold in folds] for key in ("num_train", "num_valid"))
    return [
        tested,
        ("folds", f"{len(folds)}; each test sample is predicted by the fold that did not see it"),
        ("training samples", f"{span(train)} per fold"),
        ("validation samples", f"{span(valid)} per fold"),
    ]


_ACTIVITIES = {
    "jumps": "{:.2g} jumps of a trajectory",
    "turning": "‖H‖T = {:.2g} rad",
    "gap": "spectral gap × T = {:.2g}",
    "entanglement": "{:.2g} bits of entanglement",
    "contraction": "a step forgets {:.2g} of the memory",
    "rotation": "a step turns it by {:.2g} rad",
}


def activity_facts(summary: Mapping[str, Any]) -> list[Fact]:
    """State how much the learned dynamics do, and what else a user should know about a run.

    Args:
        summary: Content of ``run.json``.

    Returns:
        Term → wording.

    Examples:
        >>> activity_facts({"dynamics": {"jumps": 0.5, "turning": 0.8, "gap": None, "entanglement": 0.25}})
        [('dynamics', '0.5 jumps of a trajectory, ‖H‖T = 0.8 rad, 0.25 bits of entanglement (means)')]
    """
    facts = []
    values = summary.get("dynamics")
    if values is not None:
        stated = [
            wording.format(values[name])
            for name, wording in _ACTIVITIES.items()
            if values.get(name) is not None
        ]
        facts.append(("dynamics", f"{', '.join(stated)} (means)"))
    if summary.get("attractor") is not None:
        facts.append(("in the long run", certificate_words(summary["attractor"])))
    return facts + [("note", remark) for remark in summary.get("remarks", [])]


def provenance_facts(content: Mapping[str, Any]) -> list[Fact]:
    """State the code, the packages, the machine and the command.

    Args:
        content: Content of ``run.json`` or ``comparison.json``.

    Returns:
        Term → wording.
    """
    machine = content["machine"]
    return [
        ("commit", content["commit"] or "not run from a source checkout"),
        ("versions", ", ".join(f"{name} {version}" for name, version in content["versions"].items())),
        ("machine", f"{machine['system']}, {machine['architecture']}, {counted(machine['cores'], 'core')}"),
        ("command", content["command"]),
    ]

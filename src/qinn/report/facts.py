"""Facts in words: what was run on which data, by which code, and what its metrics mean."""

from collections.abc import Sequence

from qinn.evaluation.metric_names import metrics_of
from qinn.explain.attractor import certificate_words
from qinn.results.number_text import counted, span
from qinn.results.summary import NO_CHECKOUT, DataRecord, FoldRecord, RunSummary, Written
from qinn.task import Task

Fact = tuple[str, str]
"""A term and what is said about it."""


def metric_legend(task: Task, names: Sequence[str]) -> list[Fact]:
    """Spell out every metric's convention, direction and when it is undefined.

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


def data_facts(data: DataRecord) -> list[Fact]:
    """State the data set, its hash, the task, the modalities and the split."""
    modalities = "; ".join(
        f"{name} ({entry.dim} features{' per step' if entry.sequence else ''}{', ' + entry.tier if entry.tier else ''})"
        for name, entry in data.modalities.items()
    )
    splits = {
        "fixed": "the data set's own training, validation and test split",
        "fold": "cross-validation over the data set's own folds",
        "group": "cross-validation, one group left out at a time",
    }
    return [
        ("data", data.name),
        ("data SHA-256", data.sha256),
        ("task", data.task.described),
        *([("label", data.label_name)] if data.label_name else ()),
        ("modalities", modalities),
        ("split", splits.get(data.split, data.split)),
    ]


def sample_facts(num_test: int, num_groups: int | None, folds: Sequence[FoldRecord]) -> list[Fact]:
    """State how many samples a run was tested, trained and selected on."""
    groups = f" in {counted(num_groups, 'group')}" if num_groups else ""
    tested = ("test samples", f"{num_test:,}{groups}")
    if len(folds) == 1:
        return [
            tested,
            ("training samples", f"{folds[0].num_train:,}"),
            ("validation samples", f"{folds[0].num_valid:,}"),
        ]
    return [
        tested,
        ("folds", f"{len(folds)}; each test sample is predicted by the fold that did not see it"),
        ("training samples", f"{span([fold.num_train for fold in folds])} per fold"),
        ("validation samples", f"{span([fold.num_valid for fold in folds])} per fold"),
    ]


_ACTIVITIES = {
    "jumps": "{:.2g} jumps of a trajectory",
    "turning": "‖H‖T = {:.2g} rad",
    "gap": "spectral gap × T = {:.2g}",
    "entanglement": "{:.2g} bits of entanglement",
    "contraction": "a step forgets {:.2g} of the memory",
    "rotation": "a step turns it by {:.2g} rad",
}


def activity_facts(summary: RunSummary) -> list[Fact]:
    """State how much the learned dynamics do, and what else a user should know about a run.

    Examples:
        >>> from qinn.explain.activity import Activity
        >>> data = DataRecord("d", "0", Task("regression", -1.0, 1.0), {}, "fixed")
        >>> acting = Activity(jumps=0.5, turning=0.8, entanglement=0.25)
        >>> made = {"label": "a", "model": "qinn", "seed": 0, "num_parameters": 1, "folds": (), "versions": {}}
        >>> activity_facts(RunSummary(**made, data=data, seconds=1.0, dynamics=acting))
        [('dynamics', '0.5 jumps of a trajectory, ‖H‖T = 0.8 rad, 0.25 bits of entanglement (means)')]
    """
    facts = []
    values = summary.dynamics
    if values is not None:
        stated = [
            wording.format(value)
            for name, wording in _ACTIVITIES.items()
            if (value := getattr(values, name)) is not None
        ]
        facts.append(("dynamics", f"{', '.join(stated)} (means)"))
    if summary.attractor is not None:
        facts.append(("in the long run", certificate_words(summary.attractor)))
    return facts + [("note", remark) for remark in summary.remarks]


def provenance_facts(result: Written, *, trained_at: Sequence[str] | None = None) -> list[Fact]:
    """State the code, the packages, the machine and the command.

    Args:
        result: What was written.
        trained_at: Commits that trained the runs of which it is made, where it says so.
    """
    machine = result.machine
    commits = [("commit", result.commit or "not run from a source checkout")]
    if trained_at is not None and list(trained_at) != [result.commit or NO_CHECKOUT]:
        commits = [("trained at commit", ", ".join(trained_at)), ("made of them at", commits[0][1])]
    return [
        *commits,
        ("versions", ", ".join(f"{name} {version}" for name, version in result.versions.items())),
        (
            "machine",
            f"{machine['system']}, {machine['architecture']}, {counted(int(machine['cores']), 'core')}",
        ),
        ("command", result.command),
    ]

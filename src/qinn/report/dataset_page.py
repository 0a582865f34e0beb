"""One self-contained HTML page about a data set: what it holds, how it is divided, what is wrong with it."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from qinn.data.checking.inspection import Inspection, inspect
from qinn.data.stores.label_column import labelled_mask
from qinn.data.stores.store import Store
from qinn.data.subsets.subset import FeatureStatistics, subset_of
from qinn.destinations import check_destination
from qinn.report import dataset_figures
from qinn.report.facts import Fact
from qinn.report.figure_style import plain
from qinn.report.numbering import Exhibit, Numbering
from qinn.report.page import page_of, render_page
from qinn.report.sections import Part, Section
from qinn.results.number_text import brief, counted, span
from qinn.results.tables import Cell, Column, Table, columns

_SPLITS = {"train": "train", "valid": "valid", "test": "test", "": "no split"}
_BINS = 12
_MOST_FOLDS = 6
_MOST_PATTERNS = 12
_MOST_CLASSES = 40
_MOST_SOURCES = 20


def write_dataset_page(store: Store, target: Path | str, *, overwrite: bool = False) -> Path:
    """Write one HTML page about a store; it needs no other file and no network.

    The same store gives the same page, byte by byte. It shows no transcript and no feature vector; ids and
    groups appear where a finding names them.

    Args:
        store: The store.
        target: The HTML file.
        overwrite: Replace a file that is no such page.

    Raises:
        DataError: If the store is damaged.
        OutputError: If the page cannot be written, or its place is another's.
    """
    place = check_destination(target, page_of("data describe"), overwrite=overwrite, inputs=[store.path])
    found, numbering = inspect(store), Numbering()
    rows = _parts_of(store)
    parts = ", ".join(f"{name} {len(part):,}" for name, part in rows.items())
    sections = [
        Section("data", "What it is", [Part("Where it comes from", facts=_facts(store, found))]),
        Section(
            "findings",
            "Findings",
            [
                Part(
                    "What the inspection found",
                    "" if found.findings else "Nothing to report.",
                    exhibits=numbering.table(_findings(found)),
                )
            ],
        ),
        Section("labels", "Samples and labels", _label_parts(store, found, rows, numbering)),
        Section("modalities", "Modalities", _modality_parts(store, found, rows, numbering)),
    ]
    render_page(
        place,
        "data describe",
        title=f"Data set: {store.name}",
        lead=f"{counted(len(store), 'sample')} ({parts}), "
        f"{found.num_labelled:,} labelled, {len(store.modalities)} modalities; "
        f"{counted(len(found.findings), 'finding')}.",
        sections=sections,
        origin="the store named above",
    )
    return Path(target)


def _parts_of(store: Store) -> dict[str, np.ndarray]:
    """Rows of every split; where there is none, of every fold if these are few."""
    splits, folds = store.categories("split"), store.categories("fold")
    if splits.names == ("",) and 2 <= len(folds.names) <= _MOST_FOLDS:
        return {f"fold {name}" if name else "no fold": folds.rows(name) for name in sorted(folds.names)}
    parts = {name: splits.rows(split) for split, name in _SPLITS.items()}
    return {name: rows for name, rows in parts.items() if len(rows)}


def _facts(store: Store, found: Inspection) -> list[Fact]:
    manifest = store.manifest
    facts = [
        ("data", store.name),
        ("data SHA-256", store.sha256),
        ("task", store.task.described),
        ("layout", manifest["layout"]),
        ("imported", f"{manifest['created']} by qinn {manifest['qinn_version']}"),
        ("groups", f"{found.num_groups:,}" if found.num_groups else "none"),
        ("folds", f"{found.num_folds:,}" if found.num_folds else "none"),
    ]
    sources = manifest["sources"]
    facts += [
        ("source", f"{one['file']}, {one['bytes']:,} bytes, SHA-256 {one['sha256']}")
        for one in sources[:_MOST_SOURCES]
    ]
    if len(sources) > _MOST_SOURCES:
        facts.append(("source", f"and {len(sources) - _MOST_SOURCES:,} more files"))
    return facts + [("note", str(note)) for note in manifest["notes"]]


def _findings(found: Inspection) -> Table | None:
    if not found.findings:
        return None
    return Table(
        "What `qinn data inspect` found, errors first. An error means that results on the data cannot be trusted as "
        "they are; a warning asks to be looked at.",
        columns("severity", Column("kind", left=True), Column("meaning", left=True)),
        tuple(
            (Cell(finding.severity), Cell(finding.kind), Cell(finding.message)) for finding in found.findings
        ),
    )


def _label_parts(
    store: Store, found: Inspection, rows: dict[str, np.ndarray], numbering: Numbering
) -> list[Part]:
    prevalence = (
        " Below a label: share of the samples in which it is present." if store.task.is_independent else ""
    )
    sizes = Table(
        f"Samples, labels and groups of every part.{prevalence}",
        columns("part", "samples", "share", "labelled", "groups", *_label_columns(store)),
        tuple(_split_row(store, name, chosen) for name, chosen in rows.items()),
    )
    parts = [Part("Division", exhibits=numbering.table(sizes))]
    counts, names, label, known = _label_counts(store, rows)
    if counts:
        figure = dataset_figures.label_shares(names, counts, label=label, known=known)
        shares = (
            "Shares of each part's labels, so that parts of different size can be compared; in brackets: labels."
            if known is None
            else "Shares of each part's samples that have each label, of those of which it is known; in brackets: "
            "samples of which a label is known, at most."
        )
        parts.append(Part("Labels", exhibits=numbering.figure({"Labels by part": figure}, shares)))
    groups = store.categories("group")
    sizes_of_groups = np.bincount(groups.codes, minlength=len(groups.names))
    sizes_of_groups = sizes_of_groups[[bool(name) for name in groups.names]]
    if len(sizes_of_groups):
        alone = len(groups.rows(""))
        low, high = int(sizes_of_groups.min()), int(sizes_of_groups.max())
        said = f"{counted(len(sizes_of_groups), 'group')} of {span([low, high])} samples"
        figure = dataset_figures.group_sizes(sizes_of_groups) if low < high else None
        parts.append(
            Part(
                "Groups",
                f"{said}{f'; {alone:,} samples have none' if alone else ''}.",
                exhibits=numbering.figure(
                    {"Samples per group": figure},
                    "How many samples the groups have (what training and test must not share: speaker, video …).",
                ),
            )
        )
    return parts


def _label_columns(store: Store) -> tuple[str, ...]:
    if store.task.kind == "multilabel":
        return tuple(plain(name, 20) for name in store.task.names)
    return ("mean label", "standard deviation") if store.task.kind == "regression" else ("most frequent",)


def _split_row(store: Store, name: str, rows: np.ndarray) -> tuple[Cell, ...]:
    labels, groups = store.labels[rows], store.categories("group")
    known = labels[labelled_mask(labels)]
    present = np.unique(groups.codes[rows])
    num_groups = sum(bool(groups.names[code]) for code in present)
    cells = [name, f"{len(rows):,}", f"{len(rows) / len(store):.1%}", f"{len(known):,}", f"{num_groups:,}"]
    if store.task.kind == "regression":
        cells += [f"{known.mean():.3f}", f"{known.std():.3f}"] if len(known) else ["–", "–"]
    elif store.task.kind == "multilabel":
        sizes = (labels >= 0).sum(axis=0)
        shares = (labels == 1).sum(axis=0) / np.maximum(sizes, 1)
        cells += [f"{share:.1%}" if size else "–" for share, size in zip(shares, sizes, strict=True)]
    else:
        counts = np.bincount(known[known < len(store.task.classes)], minlength=len(store.task.classes))
        best = int(counts.argmax())
        cells.append(f"{store.task.classes[best]} ({counts[best] / len(known):.1%})" if len(known) else "–")
    return tuple(Cell(cell.replace("-", "−") if cell[1:2].isdigit() else cell) for cell in cells)


_Counts = tuple[dict[str, np.ndarray], list[str], str, dict[str, np.ndarray] | None]


def _label_counts(store: Store, rows: dict[str, np.ndarray]) -> _Counts:
    """Samples of each part per class, interval or label, their names, what they are, and of how many it is known."""
    task, labels = store.task, store.labels
    if task.kind == "multilabel":
        return _present_counts(store, rows)
    if task.kind == "classification":
        names, label = [plain(name, 20) for name in task.classes], _called(store, "class")
        edges = np.arange(len(names) + 1) - 0.5
    else:
        edges = np.linspace(task.low, task.high, _BINS + 1)
        names = [f"{brief(round(low, 2))} to {brief(round(high, 2))}" for low, high in pairwise(edges)]
        label = _called(store, "score")
    counts = {}
    for name, chosen in rows.items():
        known = labels[chosen][labelled_mask(labels[chosen])]
        if len(known):
            counts[name] = np.histogram(known, edges)[0]
    if len(names) > _MOST_CLASSES:
        order = np.sort(np.argsort(-sum(counts.values()), kind="stable")[:_MOST_CLASSES])
        counts = {name: values[order] for name, values in counts.items()}
        names, label = [names[index] for index in order], f"{label} (the {_MOST_CLASSES} most frequent)"
    return counts, names, label, None


def _present_counts(store: Store, rows: dict[str, np.ndarray]) -> _Counts:
    """Samples of each part that have each of several labels, the rarest labels left out where there are many."""
    names = [plain(name, 20) for name in store.task.names]
    found = {name: (store.labels[chosen] == 1).sum(axis=0) for name, chosen in rows.items()}
    known = {name: (store.labels[chosen] >= 0).sum(axis=0) for name, chosen in rows.items()}
    counts = {name: values for name, values in found.items() if known[name].any()}
    label = "label that is present; a sample may have several"
    if len(names) > _MOST_CLASSES:
        order = np.sort(np.argsort(-sum(counts.values()), kind="stable")[:_MOST_CLASSES])
        counts = {name: values[order] for name, values in counts.items()}
        known = {name: values[order] for name, values in known.items()}
        names, label = [names[index] for index in order], f"{label} (the {_MOST_CLASSES} most frequent)"
    return counts, names, label, known


def _called(store: Store, what: str) -> str:
    """Return what the labels are called, beside what they are, for the axis of a figure."""
    return f"{plain(store.label_name, 40)} ({what})" if store.label_name else what


def _modality_parts(
    store: Store, found: Inspection, rows: dict[str, np.ndarray], numbering: Numbering
) -> list[Part]:
    lengths = {name: np.diff(store.offsets(name)) for name in store.modalities}
    parts = [
        Part(
            "Coverage",
            exhibits=[
                *numbering.table(_coverage(lengths, rows)),
                *_patterns(lengths, rows, numbering),
            ],
        ),
        Part("Lengths", exhibits=_lengths(lengths, rows, numbering)),
    ]
    if not parts[1].exhibits:
        parts[1] = Part("Lengths", "Every modality has one step per sample.")
    statistics = _statistics(store, rows)
    features = {
        f"Features of {name}": dataset_figures.feature_ranges(
            name, statistics["all"][name].mean, statistics["all"][name].sd
        )
        for name in store.modalities
        if statistics["all"][name].num_steps and np.isfinite(statistics["all"][name].sd).all()
    }
    parts.append(
        Part(
            "Features",
            exhibits=[
                *numbering.table(_feature_table(found, statistics)),
                *numbering.figure(
                    features,
                    "Every feature's mean (dot) and standard deviation (bar) over all steps, in the order of the "
                    "features; the axis is logarithmic beyond the typical size where sizes differ much.",
                ),
            ],
        )
    )
    return parts


def _coverage(lengths: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> Table:
    def cell(steps: np.ndarray) -> Cell:
        missing = int((steps == 0).sum())
        return Cell(f"{1 - missing / len(steps):.1%}", f"{missing:,} without" if missing else "")

    return Table(
        "Share of the samples that have each modality.",
        columns("modality", "all", *(rows if len(rows) > 1 else ())),
        tuple(
            (
                Cell(name),
                cell(steps),
                *(cell(steps[chosen]) for chosen in rows.values() if len(rows) > 1),
            )
            for name, steps in lengths.items()
        ),
    )


def _patterns(
    lengths: dict[str, np.ndarray], rows: dict[str, np.ndarray], numbering: Numbering
) -> list[Exhibit]:
    """Which modalities come together, where not every sample has all."""
    present = np.stack([steps > 0 for steps in lengths.values()])
    if present.all():
        return []
    codes = (present * (1 << np.arange(len(present)))[:, None]).sum(axis=0)
    found, which = np.unique(codes, return_inverse=True)
    counts = np.stack([np.bincount(which[chosen], minlength=len(found)) for chosen in rows.values()], axis=1)
    order = np.argsort(-counts.sum(axis=1), kind="stable")[:_MOST_PATTERNS]
    names = [
        ", ".join(name for bit, name in enumerate(lengths) if code >> bit & 1) or "nothing"
        for code in found[order].tolist()
    ]
    figure = dataset_figures.presence_patterns(names, counts[order], list(rows))
    more = f" ({_MOST_PATTERNS} most frequent of {len(found)} sets)" if len(found) > _MOST_PATTERNS else ""
    return numbering.figure(
        {"Modalities that come together": figure}, f"Which modalities the samples have together{more}."
    )


def _lengths(
    lengths: dict[str, np.ndarray], rows: dict[str, np.ndarray], numbering: Numbering
) -> list[Exhibit]:
    drawn_ones = {
        f"Lengths of {name}": dataset_figures.length_histogram(
            plain(name), {split: steps[chosen] for split, chosen in rows.items()}
        )
        for name, steps in lengths.items()
        if steps.max() > 1
    }
    vectors = ", ".join(name for name, steps in lengths.items() if 0 < steps.max() <= 1)
    caption = "Number of steps of the samples that have the modality, part by part"
    return numbering.figure(drawn_ones, f"{caption}{f'; one step each: {vectors}' if vectors else ''}.")


def _statistics(store: Store, rows: dict[str, np.ndarray]) -> dict[str, dict[str, FeatureStatistics]]:
    """Mean and deviation of every feature: of all samples, and of training and test samples."""
    parts = {"all": subset_of(store).statistics()}
    if "train" in rows and "test" in rows:
        parts |= {split: subset_of(store, split).statistics() for split in ("train", "test")}
    return parts


def _feature_table(found: Inspection, statistics: dict[str, dict[str, FeatureStatistics]]) -> Table:
    several = "train" in statistics
    body = []
    for name, summary in found.modalities.items():
        numbers = (summary.mean, summary.sd, summary.minimum, summary.maximum)
        cells = [
            Cell(name, summary.tier),
            Cell(f"{summary.dim:,}"),
            Cell(f"{summary.num_steps:,}"),
            Cell(f"{summary.shortest} / {summary.median_length:g} / {summary.longest}"),
            *(Cell("–" if value is None else f"{value:.4g}".replace("-", "−")) for value in numbers),
        ]
        if several:
            cells.append(_shift(*(statistics[part][name] for part in ("all", "train", "test"))))
        body.append(tuple(cells))
    moved = ("train to test",) if several else ()
    notes = (
        "train to test: the largest difference between a feature's mean in the test and in the training samples, "
        "in standard deviations of that feature over all samples, and which feature it is.",
    )
    return Table(
        "The values of every modality over all steps of all samples; below its name, what made the features. Length: "
        "fewest, median and most steps of the samples that have it.",
        columns("modality", "features", "steps", "length", "mean", "deviation", "minimum", "maximum", *moved),
        tuple(body),
        notes if several else (),
    )


def _shift(whole: FeatureStatistics, train: FeatureStatistics, test: FeatureStatistics) -> Cell:
    if not train.num_steps or not test.num_steps:
        return Cell("–", "absent in one")
    moved = np.abs(test.mean - train.mean) / whole.scale
    if not np.isfinite(moved).all():
        return Cell("–")
    return Cell(f"{moved.max():.2f}", f"feature {int(moved.argmax())}")

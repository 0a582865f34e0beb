"""What is in a store, and what is wrong with it."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qinn.data.checking.findings import Finding, Severity, found_in
from qinn.data.checking.informative_absence import informative_absence
from qinn.data.checking.plausibility import OFFICIAL_SPLITS, PLAUSIBILITY_CHECKS
from qinn.data.checking.word_places import segments, word_spans, word_times
from qinn.data.stores.cutting import even_pieces
from qinn.data.stores.label_column import counts_of, labelled_mask, limits_of, outside
from qinn.data.stores.manifest import SPLITS
from qinn.data.stores.store import Store
from qinn.data.subsets.cross_validation import shared_groups
from qinn.escaping import visible
from qinn.task import Task

_SMALL_SPLIT = 50
_RARE_CLASS = 0.02
_BINS = 12


@dataclass(frozen=True)
class ModalitySummary:
    """One modality over the whole store.

    Attributes:
        dim: Width of a step.
        tier: Extractor.
        coverage: Share of samples that have it.
        shortest: Fewest steps among the samples that have it.
        median_length: Median number of steps among them.
        longest: Most steps.
        num_steps: Steps in total.
        mean: Mean of all finite values.
        sd: Standard deviation of all finite values.
        minimum: Smallest finite value.
        maximum: Largest finite value.
        latest: Latest time of a step in seconds; None where the store keeps no times.
        mean_pause: Mean time between steps of a sample in seconds; None where there are no two.
    """

    dim: int
    tier: str
    coverage: float
    shortest: int
    median_length: float
    longest: int
    num_steps: int
    mean: float | None
    sd: float | None
    minimum: float | None
    maximum: float | None
    latest: float | None = None
    mean_pause: float | None = None


@dataclass(frozen=True)
class Inspection:
    """Statistics of a store and findings about it.

    Attributes:
        name: Name of the data set.
        sha256: Content hash.
        num_samples: Samples.
        num_labelled: Samples with a label.
        num_groups: Different groups.
        num_folds: Different official folds.
        splits: Split → number of samples (``""`` = none).
        label_histogram: Class or interval → number of samples.
        modalities: Modality → its summary.
        findings: Errors first, then warnings, then remarks.
        label_name: What the labels are called where they come from; empty where nothing says it.
        notes: What the import cut, dropped, assumed or took by default.
    """

    name: str
    sha256: str
    num_samples: int
    num_labelled: int
    num_groups: int
    num_folds: int
    splits: dict[str, int]
    label_histogram: dict[str, int]
    modalities: dict[str, ModalitySummary]
    findings: tuple[Finding, ...]
    label_name: str = ""
    notes: tuple[str, ...] = ()

    @property
    def has_errors(self) -> bool:
        """Whether a finding is an error."""
        return any(finding.severity == "error" for finding in self.findings)

    def render(self) -> str:
        """Return a plain-text summary."""
        splits = ", ".join(f"{split or 'no split'} {count}" for split, count in self.splits.items())
        lines = [
            f"{self.name}: {self.num_samples} samples ({splits}), {self.num_labelled} labelled, "
            f"{self.num_groups} groups, {self.num_folds} folds",
            f"content {self.sha256}",
            "",
            "modality      dim  coverage  length min/median/max       mean         sd        min        max",
        ]
        for name, summary in self.modalities.items():
            numbers = (summary.mean, summary.sd, summary.minimum, summary.maximum)
            length = f"{summary.shortest} / {summary.median_length:g} / {summary.longest}"
            lines.append(
                f"{name:<12}{summary.dim:>5}{summary.coverage:>9.1%}{length:>24}"
                + "".join(f"{'–' if number is None else format(number, '.4g'):>11}" for number in numbers)
            )
        for name, summary in self.modalities.items():
            if summary.latest is not None:
                pause = "" if summary.mean_pause is None else f", {summary.mean_pause:.4g} s apart on average"
                lines.append(f"{name}: steps have times, up to {summary.latest:.4g} s{pause}")
        lines += ["", f"labels ({self.label_name})" if self.label_name else "labels"]
        most = max(self.label_histogram.values(), default=1)
        for name, count in self.label_histogram.items():
            lines.append(f"{name:>18} {count:>7} {'█' * round(30 * count / max(most, 1))}")
        if self.notes:
            lines += ["", "notes", *(f"    note: {note}" for note in self.notes)]
        lines += ["", "findings" if self.findings else "no findings"]
        lines += [f"{finding.severity:>8}: {finding.message}" for finding in self.findings]
        return "\n".join(map(visible, lines))


def inspect(store: Store) -> Inspection:
    """Read a whole store once, in chunks, and report what is in it and what looks wrong.

    Args:
        store: The store; one whose content was changed after writing is inspected as it is.

    Returns:
        Statistics and findings; the findings cover non-finite values, constant features, absent modalities,
        samples without any feature, duplicate ids and samples, labels out of range, unlabelled training
        samples, groups shared between splits or folds, small splits, rare classes, official split sizes, and
        what `qinn.data.checking.plausibility`, `word_places` and `informative_absence` look for.

    Examples:
        >>> import tempfile
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> spec = SyntheticSpec(num_train=40, num_valid=10, num_test=20)
        >>> store = write_synthetic_store(tempfile.mkdtemp(), spec)
        >>> [finding.kind for finding in inspect(store).findings][:2]
        ['small-split', 'small-split']
    """
    summaries, findings = {}, []
    for name in store.modalities:
        summary, found = _inspect_modality(store, name)
        summaries[name] = summary
        findings += found
    of_words = (word_spans, word_times, segments)
    for check in (_samples, _labels, _divisions, *of_words, informative_absence, *PLAUSIBILITY_CHECKS):
        findings += check(store)
    order: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
    return Inspection(
        store.name,
        store.sha256,
        len(store),
        int(labelled_mask(store.labels).sum()),
        len(set(store.strings("group")) - {""}),
        len(set(store.strings("fold")) - {""}),
        _split_sizes(store),
        _histogram(store),
        summaries,
        tuple(sorted(findings, key=lambda finding: order[finding.severity])),
        store.label_name,
        tuple(map(str, store.manifest["notes"])),
    )


def _inspect_modality(store: Store, name: str) -> tuple[ModalitySummary, list[Finding]]:
    values, lengths = store.values(name), np.diff(store.offsets(name))
    dim, ids, findings = store.modalities[name], store.strings("id"), []
    low, high = np.full(dim, np.inf), np.full(dim, -np.inf)
    count, total, squares = np.zeros(dim), np.zeros(dim), np.zeros(dim)
    # Squares are taken about the first finite value of each feature, so that a large mean costs no digits.
    shift = (
        np.where(np.isfinite(values[0]), values[0], 0).astype(np.float64) if len(values) else np.zeros(dim)
    )
    broken = {"NaN": np.zeros(len(values), bool), "infinite": np.zeros(len(values), bool)}
    for piece in even_pieces(len(values), dim):
        chunk = np.asarray(values[piece])
        finite = np.isfinite(chunk)
        centred = chunk - shift
        if finite.all():
            low, high = np.minimum(low, chunk.min(axis=0)), np.maximum(high, chunk.max(axis=0))
        else:
            broken["NaN"][piece] = np.isnan(chunk).any(axis=1)
            broken["infinite"][piece] = np.isinf(chunk).any(axis=1)
            low = np.minimum(low, np.where(finite, chunk, np.inf).min(axis=0))
            high = np.maximum(high, np.where(finite, chunk, -np.inf).max(axis=0))
            centred = np.where(finite, centred, 0)
        count += np.count_nonzero(finite, axis=0)
        total += centred.sum(axis=0)
        squares += np.einsum("ij,ij->j", centred, centred)
    for kind, steps in broken.items():
        if steps.any():
            at = np.searchsorted(store.offsets(name), np.flatnonzero(steps), side="right") - 1
            where = ids[np.unique(at)]
            text = f"{len(where)} samples have {kind} values in {name}"
            findings.append(found_in("error", kind.lower(), text, where))
    constant = np.flatnonzero(low == high)
    if len(constant):
        text = f"{len(constant)} of {dim} features of {name} never change"
        findings.append(found_in("warning", "constant-feature", text, constant))
    present = lengths > 0
    if not present.any():
        findings.append(found_in("error", "absent-modality", f"No sample has {name}"))
    elif not present.all():
        text = f"{(~present).sum()} of {len(store)} samples have no {name}"
        findings.append(found_in("info", "partly-absent-modality", text, ids[~present]))
    some = lengths[present] if present.any() else np.zeros(1)
    summary = ModalitySummary(
        dim,
        store.tiers[name],
        float(present.mean()),
        int(some.min()),
        float(np.median(some)),
        int(some.max()),
        len(values),
        *_pooled(count, shift, total, squares, low, high),
        *_times(store, name),
    )
    return summary, findings


def _times(store: Store, name: str) -> tuple[float | None, float | None]:
    """Latest time and mean pause; times never fall, so that they follow from each sample's first and last."""
    times, offsets = store.times(name), store.offsets(name)
    if times is None or not len(times):
        return None, None
    filled = np.diff(offsets) > 0
    first, last = times[offsets[:-1][filled]], times[offsets[1:][filled] - 1]
    pauses = len(times) - int(filled.sum())
    return float(last.max()), float((last - first).sum() / pauses) if pauses else None


def _pooled(
    count: np.ndarray,
    shift: np.ndarray,
    total: np.ndarray,
    squares: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> tuple[float | None, float | None, float | None, float | None]:
    number = count.sum()
    if not number:
        return None, None, None, None
    mean = (total + count * shift).sum() / number
    difference = shift - mean
    variance = (squares + 2 * difference * total + count * difference**2).sum() / number
    return float(mean), float(np.sqrt(max(variance, 0.0))), float(low.min()), float(high.max())


def _samples(store: Store) -> Iterator[Finding]:
    ids, splits = store.strings("id"), store.strings("split")
    if repeated := sorted(identifier for identifier, times in Counter(ids).items() if times > 1):
        yield found_in("error", "duplicate-id", f"{len(repeated)} ids appear more than once", repeated)
    steps = sum((np.diff(store.offsets(name)) for name in store.modalities), np.zeros(len(store), np.int64))
    if (steps == 0).any():
        text = f"{(steps == 0).sum()} samples have no feature at all"
        yield found_in("error", "empty-sample", text, ids[steps == 0])
    same: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(steps):
        digest = hashlib.blake2b(digest_size=16)
        for name in store.modalities:
            features = np.ascontiguousarray(store.sample(int(row), name))
            digest.update(len(features).to_bytes(8, "little") + features.tobytes())
        same.setdefault(digest.digest(), []).append(int(row))
    inside, across = [], []
    for rows in same.values():
        if len(rows) > 1:
            target = across if len({splits[row] for row in rows} - {""}) > 1 else inside
            target.append(" = ".join(str(ids[row]) for row in rows[:3]))
    if across:
        text = f"{len(across)} sets of samples with identical features lie in different splits"
        yield found_in("warning", "duplicate-across-splits", text, across)
    if inside:
        text = f"{len(inside)} sets of samples have identical features"
        yield found_in("warning", "duplicate-sample", text, inside)


def _labels(store: Store) -> Iterator[Finding]:
    ids, labels, task = store.strings("id"), store.labels, store.task
    known = labelled_mask(labels)
    wrong, (low, high) = outside(labels, task), limits_of(task)
    if wrong.any():
        limits = f"[{low:g}, {high:g}]" if task.kind == "regression" else f"{low:g} to {high:g}"
        text = f"{wrong.sum()} labels lie outside {limits}"
        yield found_in("error", "label-range", text, ids[wrong])
    missing = ~known & np.isin(store.strings("split"), ("train", "valid"))
    if missing.any():
        text = f"{missing.sum()} training or validation samples have no label"
        yield found_in("error", "unlabelled", text, ids[missing])
    if not known.any():
        yield found_in("info", "no-labels", "No sample has a label; the store serves for prediction only")
    elif task.kind == "classification":
        shares = np.bincount(labels[known & ~wrong], minlength=len(task.classes)) / known.sum()
        rare = [name for name, share in zip(task.classes, shares, strict=True) if share < _RARE_CLASS]
        if rare:
            text = f"{len(rare)} classes have less than {_RARE_CLASS:.0%} of the labels"
            yield found_in("warning", "rare-class", text, rare)
    elif task.kind == "multilabel":
        yield from _of_several(labels, task)
    if known.any() and task.kind != "multilabel" and np.ptp(labels[known]) == 0:
        yield found_in("warning", "constant-label", "Every label is the same")


def _of_several(labels: np.ndarray, task: Task) -> Iterator[Finding]:
    """Say how often each label is present, and which say little: rare ones, those always there, those not known."""
    known = labels >= 0
    shares = (labels == 1).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    said = ", ".join(f"{name} {share:.1%}" for name, share in zip(task.names, shares, strict=True))
    yield found_in("info", "label-prevalence", f"Share of the samples in which each label is present: {said}")
    named = np.array(task.names, dtype=object)
    if (rare := (shares < _RARE_CLASS) | (shares > 1 - _RARE_CLASS)).any():
        text = f"{rare.sum()} labels are present, or absent, in less than {_RARE_CLASS:.0%} of the samples"
        yield found_in("warning", "rare-label", text, named[rare])
    partly = known.any(axis=1, keepdims=True) & ~known
    if partly.any():
        text = f"{partly.sum()} labels are not known in samples where others are; training and metrics leave them out"
        yield found_in("info", "partial-labels", text, named[partly.any(axis=0)])


def _divisions(store: Store) -> Iterator[Finding]:
    groups = store.strings("group")
    for column, plural in (("split", "splits"), ("fold", "folds")):
        if leaks := shared_groups(store.strings(column), groups):
            text = (
                f"{len(leaks)} groups are in more than one of the {plural}, so a test would see its training"
            )
            yield found_in("error", f"group-leak-{column}", text, leaks)
    sizes = _split_sizes(store)
    if set(sizes) == {""}:
        yield found_in("info", "no-splits", "There are no official splits; use folds or groups")
    else:
        for split in ("train", "valid", "test"):
            count = sizes.get(split, 0)
            if count == 0:
                yield found_in("warning", "missing-split", f"There is no {split} split")
            elif count < _SMALL_SPLIT and split != "train":
                text = f"The {split} split has only {count} samples, so its scores are very uncertain"
                yield found_in("warning", "small-split", text)
    for name, official in OFFICIAL_SPLITS.items():
        if tuple(sizes.get(split, 0) for split in ("train", "valid", "test")) == official:
            text = f"The split sizes {' / '.join(map(str, official))} are those of the official {name} split"
            yield found_in("info", "official-split", text)


def _split_sizes(store: Store) -> dict[str, int]:
    found = Counter(store.strings("split"))
    return {
        str(split): found[split] for split in (*SPLITS, *sorted(set(found) - set(SPLITS))) if found[split]
    }


def _histogram(store: Store) -> dict[str, int]:
    labels, task = store.labels[labelled_mask(store.labels)], store.task
    if task.kind != "regression":
        return counts_of(labels, task)
    edges = np.linspace(task.low, task.high, _BINS + 1)
    counts = np.histogram(labels, edges)[0]
    return {
        f"{low:.3g} to {high:.3g}": int(count)
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    }

"""Several models on the same samples, with objects in place of a YAML file."""

import contextlib
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt

from qinn.data.stores.manifest import Modality
from qinn.data.stores.store import Store
from qinn.data.stores.unchanged import open_unchanged
from qinn.data.stores.writing import StoreWriter
from qinn.data.subsets.stratified_draw import hold_out
from qinn.errors import ArgumentError, DataError, OutputError
from qinn.experiment.comparison import compare as compare_models
from qinn.experiment.config import ExperimentConfig, TrainingConfig, parse_config, read_config
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.grid import Engine
from qinn.experiment.ray_cluster import Ray
from qinn.experiment.slurm import Slurm
from qinn.face.estimator import Estimator
from qinn.face.fitting import check_present
from qinn.face.labels import Labels, Scale, classes_of, groups_of, labels_of, scores_of
from qinn.face.samples import Samples
from qinn.folder_locks import held
from qinn.results.comparison import ComparisonResult
from qinn.typed_arguments import typed

_Value = TypeVar("_Value")
_SPLITS = ("train", "valid", "test")


@typed
def compare(
    models: Mapping[str, Estimator | str | Mapping[str, object]] | ExperimentConfig | Path | str,
    data: object = None,
    y: object = None,
    *,
    groups: object = None,
    splits: object = None,
    test: float | None = None,
    validation: float | None = None,
    seeds: Sequence[int] | None = None,
    to: Path | str | None = None,
    name: str | None = None,
    task: Literal["regression", "classification", "multilabel"] | None = None,
    scale: Scale | None = None,
    label_range: Sequence[float] | None = None,
    split: Literal["fixed", "fold", "group"] | None = None,
    encoder: Mapping[str, object] | None = None,
    training: Mapping[str, object] | None = None,
    evaluation: Mapping[str, object] | None = None,
    reference: str | None = None,
    simple_rows: bool | None = None,
    trained_elsewhere: Mapping[str, str | Path | Sequence[str | Path]] | None = None,
    workers: int | None = None,
    engine: Literal["local", "ray", "slurm"] = "local",
    address: str | None = None,
    sbatch: Sequence[str] = (),
    threads: int | None = None,
    overwrite: bool = False,
    on_run: Callable[[int, int, str], None] | None = None,
    on_remark: Callable[[str], None] | None = None,
) -> ComparisonResult:
    """Train several models with several seeds on the same samples and test them against each other.

    What `qinn compare` does with a YAML file, which may be given too: mean and deviation over seeds, bootstrap
    intervals and paired tests, on test samples that neither training nor the choice of the epoch sees.

    Args:
        models: Label → a model: an `Estimator`, whose fit plays no part; its kind; or a mapping as in a configuration.
            The first is the one that the others are tested against, unless `reference` names another. Or a
            configuration, or the file of one, which says all but `to`, `workers`, `engine`, `address`, `sbatch`,
            `overwrite`, `on_run` and `on_remark`.
        data: The folder of a store, a `Store`, or samples as `Estimator.fit` takes them.
        y: One score or class per sample, where `data` are samples.
        groups: One group (speaker, video …) per sample: none is in two splits, and intervals count groups.
        splits: ``"train"``, ``"valid"`` or ``"test"`` per sample; if None, they are divided by `test` and `validation`
            with the first seed.
        test: Part of the samples that is tested on; 0.2 if None.
        validation: Part of the others that chooses the epoch, of a store without validation samples too; 0.15 if None.
        seeds: One run of each model for each; 0 alone if None.
        to: Folder for the runs, where a killed comparison goes on, and the store of the samples. If None, only the
            result is kept; of a configuration, all in ``runs/NAME``.
        name: What the comparison is called; ``"comparison"`` if None.
        task: What is predicted, where `data` are samples; if None that of the estimators, or ``"regression"``.
        scale: As of `Estimator`; likewise.
        label_range: As of `Estimator`; likewise.
        split: Of a store: ``"fixed"``, its splits (if None), its folds in turn, or each group in turn.
        encoder: The section `encoder` of a configuration; that of the estimators if None.
        training: The section `training`.
        evaluation: The section `evaluation`.
        reference: Label of the model that the others are tested against.
        simple_rows: Whether the constant and linear models (early, late and stacked) that are not among the models are
            added to them; they are if None.
        trained_elsewhere: Label → files with test predictions of a model that was trained elsewhere, one for each
            seed, as a list or as one name with ``{seed}``: a row that is judged as all others.
        workers: Runs at the same time, each in a process of its own; 1 if None. Of an engine, the most tasks at the
            same time; as many as it has room for if None.
        engine: Who trains: ``"local"``, processes of this one; or, a task for each model, seed and fold, on machines
            that see `to` and the store under the same paths, ``"ray"``, a cluster of Ray, or ``"slurm"``, array jobs.
        address: Of the cluster of Ray, such as ``"10.0.0.1:6379"``; one of this machine alone, for this call, if None.
        sbatch: Options of ``sbatch``, such as ``"--partition=long"``.
        threads: Threads of a run; 1 if None.
        overwrite: Replace runs of other models, and the store of other samples.
        on_run: Called with (runs done, runs in all, label of the last) after each run.
        on_remark: Called before the first run with each sentence about what runs will cost, where that is much.

    Returns:
        The result: a table in a notebook, and a data frame by `to_frame`.

    Raises:
        ArgumentError: If samples, labels or estimators do not go together.
        ConfigError: If a model or a section has an unknown key or an impossible value.
        CheckpointError: If the folder holds another comparison.
    """
    if workers is not None and workers < 1:
        raise ArgumentError(f"Argument `workers` must be 1 or more, but it is {workers}.")
    chosen: dict[str, Any] = {
        "workers": workers or 1,
        "engine": _engine(engine, workers=workers, address=address, sbatch=sbatch),
        "overwrite": overwrite,
        "on_run": on_run,
        "on_remark": on_remark,
    }
    if isinstance(models, (ExperimentConfig, Path, str)):
        beside = {"data": data, "y": y, "groups": groups, "splits": splits, "task": task, "scale": scale}
        beside |= {"encoder": encoder, "training": training, "evaluation": evaluation, "reference": reference}
        beside |= {"label_range": label_range, "test": test, "validation": validation, "seeds": seeds}
        beside |= {"name": name, "split": split, "threads": threads, "simple_rows": simple_rows}
        beside |= {"trained_elsewhere": trained_elsewhere}
        if said := [name for name, value in beside.items() if value is not None]:
            raise ArgumentError(
                f"Argument `{said[0]}` must be left out where `models` is a configuration, but it is given; the "
                "configuration says it."
            )
        config = read_config(models) if isinstance(models, (Path, str)) else models
        place = Path("runs") / config.name if to is None else Path(to)
        return compare_models(config, place, **chosen)
    if data is None:
        raise ArgumentError(
            "Argument `data` must be samples or a store, but it is None; say what to compare on."
        )
    if to is None and engine != "local":
        raise ArgumentError(
            f"Argument `to` must be a folder that every machine sees where `engine` is {engine!r}, but it is None."
        )
    test, validation = 0.2 if test is None else test, 0.15 if validation is None else validation
    seeds, name = (0,) if seeds is None else seeds, "comparison" if name is None else name
    given = _Models(models, encoder=encoder, training=training)
    is_store = isinstance(data, (str, Path, Store))
    with _folder(to) as folder, contextlib.nullcontext() if is_store else held(folder):
        if isinstance(data, (str, Path, Store)):
            if y is not None or groups is not None or splits is not None:
                raise ArgumentError(
                    "Arguments `y`, `groups` and `splits` are those of samples, but `data` is a store, which has "
                    "its own."
                )
            store, place = (data.path if isinstance(data, Store) else Path(data)), folder
        else:
            samples = Samples.of(data)
            check_present(samples)
            chosen_task = task or given.shared("task", lambda one: one.task) or "regression"
            if chosen_task == "classification":
                labels = classes_of(y)
            elif chosen_task == "multilabel":
                labels = labels_of(
                    y,
                    names=given.shared("label_names", lambda one: one.label_names),
                    threshold=given.shared("threshold", lambda one: one.threshold),
                )
            else:
                if label_range is None:
                    label_range = given.shared("label_range", lambda one: one.label_range)
                own_scale = scale or given.shared("scale", lambda one: one.scale)
                labels = scores_of(y, scale=own_scale or "plain", label_range=label_range)
            named = groups_of(groups, len(samples))
            parts = _split(samples, labels, named, splits, test=test, validation=validation, seed=seeds[0])
            store, place = folder / "store", folder / "comparison"
            _write(store, samples, labels, named, parts, name=name, overwrite=overwrite)
        config = parse_config(
            {
                "name": name,
                "data": {"store": store, "split": split or "fixed", "valid_fraction": validation},
                "encoder": given.encoder,
                "models": given.models,
                "training": given.training,
                "evaluation": dict(evaluation or {}),
                "reference": reference,
                "simple_rows": simple_rows is not False,
                "trained_elsewhere": dict(trained_elsewhere or {}),
                "seeds": tuple(int(seed) for seed in seeds),
                "threads": 1 if threads is None else threads,
            },
            "qinn.compare",
        )
        return compare_models(config, place, **chosen)


def _engine(name: str, *, workers: int | None, address: str | None, sbatch: Sequence[str]) -> Engine | None:
    """Return who trains; None for processes of this one.

    Raises:
        ArgumentError: If options are those of another.
    """
    for option, value, owner in (("sbatch", list(sbatch) or None, "slurm"), ("address", address, "ray")):
        if value is not None and name != owner:
            raise ArgumentError(
                f"Argument `{option}` must be left out unless `engine` is {owner!r}, but `engine` is {name!r} and "
                f"`{option}` is {value!r}."
            )
    if any(not one.strip() for one in sbatch) or (sbatch and not sbatch[0].startswith("-")):
        raise ArgumentError(
            f"Argument `sbatch` must have options, such as `--partition=long`, but it is {list(sbatch)}: a word "
            "alone is a script to `sbatch`."
        )
    if name == "slurm":
        return Slurm(tuple(sbatch), workers)
    return Ray(address, workers) if name == "ray" else None


class _Models:
    """Models of a comparison as a configuration has them, and what estimators among them say of the rest."""

    def __init__(
        self,
        models: Mapping[str, Estimator | str | Mapping[str, object]],
        *,
        encoder: Mapping[str, object] | None,
        training: Mapping[str, object] | None,
    ) -> None:
        self.estimators = {label: one for label, one in models.items() if isinstance(one, Estimator)}
        chosen = {label: one.configuration() for label, one in self.estimators.items()}
        self.encoder: EncoderConfig | dict[str, object] = dict(encoder or {})
        # What one folder needs and a table of results does not.
        self.training: dict[str, object] = {"tensorboard": False, **(training or {})}
        self.models: dict[str, object] = {}
        encoders: dict[str, EncoderConfig] = {label: one.config.encoder for label, one in chosen.items()}
        if encoders:
            first, shared = next(iter(encoders.items()))
            if encoder is not None:
                raise ArgumentError(
                    f"Argument `encoder` cannot be given beside estimators, but `{first}` is one, which has encoders "
                    "of its own; leave it out."
                )
            for label, one in encoders.items():
                if one != shared:
                    raise ArgumentError(
                        f"All models of a comparison share their encoders, but those of `{first}` and `{label}` "
                        "differ; give both the same `encoder`, `hidden_dim`, `step_dim`, `dropout` and `head_dropout`."
                    )
            self.encoder = shared
        for label, one in models.items():
            if label in chosen:
                own = _differing(chosen[label].config.training, self.training)
                model = chosen[label].model
                self.models[label] = (
                    model.model_copy(update={"training": own}) if hasattr(model, "training") else model
                )
            else:
                self.models[label] = {"kind": one} if isinstance(one, str) else one

    def shared(self, parameter: str, of: Callable[[Estimator], _Value]) -> _Value | None:
        """Return a parameter that all estimators have alike; None where there are none."""
        values = {label: of(one) for label, one in self.estimators.items()}
        if len({repr(value) for value in values.values()}) > 1:
            raise ArgumentError(
                f"All models of a comparison have the same `{parameter}`, but the estimators have {values}; give them "
                "the same, or pass it to `compare`."
            )
        return next(iter(values.values()), None)


def _differing(own: TrainingConfig, shared: Mapping[str, object]) -> dict[str, object]:
    """Return the training options of an estimator that differ from what the comparison says."""
    common = TrainingConfig.model_validate(dict(shared))
    of_the_folder = {"tensorboard", "checkpoint_seconds"}
    return {
        key: getattr(own, key)
        for key in TrainingConfig.model_fields
        if key not in of_the_folder and getattr(own, key) != getattr(common, key)
    }


@contextlib.contextmanager
def _folder(to: Path | str | None) -> Generator[Path]:
    if to is not None:
        yield Path(to)
        return
    with tempfile.TemporaryDirectory(prefix="qinn-compare-") as name:
        yield Path(name)


def _split(
    samples: Samples,
    labels: Labels,
    groups: npt.NDArray[np.object_] | None,
    splits: object,
    *,
    test: float,
    validation: float,
    seed: int,
) -> list[str]:
    """Return each sample's split."""
    number = len(samples)
    if number != len(labels.values):
        raise ArgumentError(
            f"Arguments `data` and `y` must have the same number of samples, but have {number} and "
            f"{len(labels.values)}."
        )
    if splits is not None:
        given = [str(one) for one in np.asarray(cast(npt.ArrayLike, splits)).reshape(-1).tolist()]
        if len(given) != number or not set(given) <= set(_SPLITS):
            raise ArgumentError(
                f"Argument `splits` must say {', '.join(_SPLITS)} for each of {number} samples, but has {len(given)} "
                f"and {sorted(set(given))}."
            )
        return given
    names = np.full(number, "", dtype=object) if groups is None else groups
    found = np.full(number, "train", dtype=object)
    for stream, (part, fraction) in enumerate((("test", test), ("valid", validation))):
        rest = np.flatnonzero(found == "train")
        try:
            held = hold_out(labels.values[rest], names[rest], fraction, seed, stream=stream)
        except DataError as error:
            if groups is None:
                raise ArgumentError(
                    f"Argument `data` must have samples to train on beside those of {part}, but has {number} in all; "
                    "give more, or say `splits`."
                ) from None
            raise ArgumentError(f"Argument `groups`: {error}") from None
        found[rest[held]] = part
    return [str(one) for one in found]


def _write(
    path: Path,
    samples: Samples,
    labels: Labels,
    groups: npt.NDArray[np.object_] | None,
    splits: list[str],
    *,
    name: str,
    overwrite: bool,
) -> None:
    """Write samples as a store; one that holds the same already stays."""
    modalities = {one: Modality(dim, samples.kinds[one]) for one, dim in samples.dims.items() if dim}
    with tempfile.TemporaryDirectory(prefix="qinn-store-") as beside:
        exists = (path / "manifest.json").is_file()
        target = Path(beside) / "store" if exists else path

        def write(place: Path, *, replace: bool) -> None:
            with StoreWriter(
                place, name=name, task=labels.task, modalities=modalities, layout="memory", overwrite=replace
            ) as writer:
                writer.add_many(
                    list(samples.ids),
                    {one: (samples.steps(one).values, samples.steps(one).lengths) for one in modalities},
                    splits=splits,
                    labels=labels.values.tolist(),
                    groups=None if groups is None else groups.tolist(),
                )

        write(target, replace=False)
        if exists and open_unchanged(path).sha256 != Store.open(target).sha256:
            if not overwrite:
                raise OutputError(
                    f"`{path}` holds other samples, labels or splits; choose another folder, or pass `overwrite=True`."
                )
            write(path, replace=True)

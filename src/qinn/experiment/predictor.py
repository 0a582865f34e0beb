"""A finished run as something that predicts, evaluates and explains other samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from qinn.data.stores.manifest import may_be_alike, num_words_of
from qinn.data.stores.store import Store
from qinn.data.stores.unchanged import open_unchanged
from qinn.data.subsets.absence import present_modalities
from qinn.data.subsets.subset import Subset, subset_of
from qinn.errors import ArgumentError, CheckpointError, ConfigError, DataError, QinnError
from qinn.evaluation.predict import PredictionTable, check_finite, predict
from qinn.experiment.build import build_model, uses_times
from qinn.experiment.config import config_of
from qinn.experiment.feasibility import check_feasible
from qinn.experiment.pretrained import read_architectures
from qinn.explain.coupling import coupled
from qinn.explain.explanation import explain
from qinn.records import Explanation
from qinn.resources import resource_error
from qinn.results.folder import RunFolder
from qinn.results.summary import PUBLISHED, UNCHECKED, ModalityRecord
from qinn.task import Task

_MOST_FEATURES = 2**20
"""Features of a modality that a run can have been trained on; more are damage, and would fill the memory."""


class Predictor:
    """The trained models of a run, one per fold; a run over several folds predicts the mean of its models.

    Use `Predictor.load`.

    Args:
        models: Fold name → trained model.
        task: What is predicted.
        modalities: Modality name → what the models were trained on.
        pool: Modalities whose sequences the models take pooled.
        timed: Modalities whose steps had times in training, if it matters for the models whether they have; None if
            it does not.
        source: Run folder, for messages.
        notes: What a user should know about the run, whatever is predicted.
    """

    def __init__(
        self,
        models: dict[str, nn.Module],
        *,
        task: Task,
        modalities: Mapping[str, ModalityRecord],
        pool: tuple[str, ...],
        source: Path,
        timed: tuple[str, ...] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.models = models
        self.task = task
        self.modalities = modalities
        self.pool = pool
        self.source = source
        self.timed = timed
        self.notes = notes

    @classmethod
    def load(cls, folder: Path | str, *, fold: str | None = None) -> "Predictor":
        """Load the models of a complete run.

        Args:
            folder: The run.
            fold: The only fold whose model is needed; all where None, or where there is none of that name.

        Raises:
            CheckpointError: If the run is incomplete, a file is not the one that the run wrote, or weights are damaged,
                not finite or of other dimensions.
        """
        target = RunFolder(Path(folder))
        summary = target.summary()
        config = config_of(target)
        model_config = next(iter(config.models.values()))
        task, modalities = summary.task, summary.data.modalities
        feature_dims = {name: value.dim for name, value in modalities.items()}
        sequences = {name: value.sequence for name, value in modalities.items()}
        tiers = {name: value.tier for name, value in modalities.items()}
        timed = tuple(name for name, value in modalities.items() if value.times)
        names = [record.name for record in summary.folds]
        widths = [0 < dim <= _MOST_FEATURES for dim in feature_dims.values()]
        if not widths or not all(widths) or len(set(names)) < max(len(names), 1):
            raise CheckpointError(
                f"`{target.summary_file}` does not describe its data and folds; "
                "the run folder is damaged, repeat the run."
            )
        try:
            check_feasible(
                config,
                feature_dims=feature_dims,
                sequences=sequences,
                num_outputs=task.num_outputs,
                num_words=num_words_of(tiers),
                training=False,
            )
        except (ConfigError, ArgumentError) as error:
            raise CheckpointError(f"`{target.config_file}` asks for what cannot be: {error}") from error
        models = {}
        kinds = config.encoder.kind if isinstance(config.encoder.kind, dict) else {"": config.encoder.kind}
        transformers = read_architectures(target) if "transformer" in kinds.values() else None
        for index, name in enumerate(names):
            if fold in names and name != fold:
                continue
            path = target.fold(index) / "weights.safetensors"
            weights = target.weights(index)
            try:
                model = build_model(
                    model_config,
                    config.encoder,
                    feature_dims=feature_dims,
                    sequences=sequences,
                    num_outputs=task.num_outputs,
                    seed=config.seeds[0],
                    transformers=transformers,
                    timed=timed,
                    num_words=num_words_of(tiers),
                    independent=task.is_independent,
                )
                model.load_state_dict(weights)
            except (RuntimeError, KeyError, ArgumentError) as error:
                if resource_error(error):
                    raise
                raise CheckpointError(
                    f"Weights `{path}` do not fit the model of `{target.config_file}`: {_first_mismatch(error)}; "
                    "the two files are not of the same run."
                ) from error
            except QinnError as error:
                raise CheckpointError(
                    f"`{target.config_file}` does not fit the run's data: {error}"
                ) from error
            models[name] = model.eval()
        notes = (UNCHECKED,) if summary.version == 1 else ()
        return cls(
            models,
            task=task,
            modalities=modalities,
            pool=config.data.pool,
            source=target.path,
            timed=timed if uses_times(model_config) else None,
            notes=notes,
        )

    @classmethod
    def of_seeds(cls, predictors: Sequence["Predictor"]) -> "Predictor":
        """Return the models of several seeds as one, which predicts the mean of all of them.

        Each is called by the folder of its run, with the fold behind it where there are several: ``seed-0``,
        ``seed-0/fold``.

        Args:
            predictors: Those of each seed, which predict the same from the same data.
        """
        first = predictors[0]
        if len(predictors) == 1:
            return first
        models = {
            one.source.name + (f"/{fold}" if len(one.models) > 1 else ""): model
            for one in predictors
            for fold, model in one.models.items()
        }
        return cls(
            models,
            task=first.task,
            modalities=first.modalities,
            pool=first.pool,
            source=first.source.parent,
            timed=first.timed,
            notes=first.notes,
        )

    def own_store(self) -> Store:
        """Open the store that the run was trained on, known to hold what it held then.

        Raises:
            DataError: If there is no store, or it was changed since it was written.
            CheckpointError: If it holds other data.
        """
        run = RunFolder(self.source)
        if run.summary().status == PUBLISHED:
            raise DataError(
                f"`{self.source}` is a published model, which came without its data; name a store or files of samples."
            )
        place, trained = config_of(run).data.store, run.summary().data.sha256
        store = open_unchanged(place)
        if store.sha256 != trained:
            raise CheckpointError(
                f"`{self.source}` was trained on other data (hash {trained[:12]}…) than `{place}` holds now "
                f"({store.sha256[:12]}…); restore them, or name the store with `--store` to take it for another one."
            )
        return store

    def check_labels(self, store: Store) -> None:
        """Make sure that a store's labels are of what this run predicts, before they are compared with it.

        Args:
            store: Samples whose labels are to be used.

        Raises:
            DataError: If they are scores of another range, other classes, or the same in another order.
        """
        found = store.task
        if (found.kind, found.low, found.high, found.names) != (
            self.task.kind,
            self.task.low,
            self.task.high,
            self.task.names,
        ):
            raise DataError(
                f"Store `{store.path}` has labels that are {_labels_of(found)}, but run `{self.source}` predicts "
                f"{_labels_of(self.task)}; import the samples with labels of the same kind."
            )

    def subset(self, store: Store, split: str | None = None, *, absent: Sequence[str] = ()) -> Subset:
        """Return a store's samples with this run's modalities; None takes every sample.

        Args:
            store: The samples.
            split: Split to take; None for every sample.
            absent: Modalities that the store need not have; they are absent then.

        Raises:
            CheckpointError: If the store's features differ from those that the run was trained on.
            ConfigError: If a modality to do without is none of this run's.
        """
        for name in absent:
            if name not in self.modalities:
                raise ConfigError(
                    f"Run `{self.source}` has the modalities {list(self.modalities)}, so `{name}` cannot be absent."
                )
        known = [name for name in self.modalities if name in store.modalities or name not in absent]
        for name in known:
            expected = self.modalities[name]
            if name not in store.modalities:
                raise CheckpointError(
                    f"Run `{self.source}` needs modality `{name}`, but store `{store.name}` has "
                    f"{list(store.modalities)}; import the samples with it (absent where a sample lacks it), or do "
                    f"without it by `--absent {name}`."
                )
            width = store.modalities[name] * (2 if name in self.pool else 1)
            found: dict[str, tuple[object, object]] = {"dim": (expected.dim, width)}
            if not may_be_alike(expected.tier, store.tiers[name]):
                found["tier"] = (expected.tier, store.tiers[name])
            for key, (needed, value) in found.items():
                if value != needed:
                    raise CheckpointError(
                        f"Run `{self.source}` was trained on `{name}` features of {key} {needed!r}, but store "
                        f"`{store.name}` has {value!r}; make the features the same way."
                    )
            trained, has = name in (self.timed or ()), store.times(name) is not None
            if self.timed is not None and name not in self.pool and trained != has:
                raise CheckpointError(
                    f"Run `{self.source}` was trained {'with' if trained else 'without'} the times of the steps of "
                    f"`{name}`, but store `{store.name}` has {'them' if has else 'none'}; import the samples the same "
                    "way."
                )
        if not known:
            raise CheckpointError(
                f"Store `{store.name}` has {list(store.modalities)}, none of the modalities of run `{self.source}`, "
                f"which are {list(self.modalities)}."
            )
        subset = subset_of(store, split, modalities=known)
        subset = subset.pool([name for name in self.pool if name in known])
        return subset.widened({name: value.dim for name, value in self.modalities.items()})

    def doubts(self, store: Store) -> list[str]:
        """Return of which features of a store nothing says that they are those that the run was trained on.

        Args:
            store: The samples.
        """
        tiers = {name: store.tiers[name] for name in self.modalities if name in store.modalities}
        return [
            f"Nothing says whether the same extractor made the `{name}` features of store `{store.name}` as those of "
            f"the run ({tier or 'not stated'}; {self.modalities[name].tier or 'not stated'}): state it at import, as "
            f"by `--extractor {name}=NAME@VERSION`."
            for name, tier in tiers.items()
            if tier != self.modalities[name].tier
        ]

    def absent(self, subset: Subset) -> list[tuple[str, ...]]:
        """Return which modalities the models do without, sample by sample.

        Args:
            subset: Samples, from `Predictor.subset`.
        """
        usable = np.array([name not in self.unseen for name in subset.modalities])
        present = present_modalities(subset) & usable
        names = np.array(subset.modalities, dtype=object)
        return [tuple(names[~row]) for row in present]

    @property
    def unseen(self) -> tuple[str, ...]:
        """Modalities that no training sample had (of any fold's model), which the models take for absent."""
        found = {
            name
            for model in self.models.values()
            if (encoders := getattr(model, "encoders", None)) is not None
            for name, seen in zip(encoders, encoders.seen_in_training.tolist(), strict=True)
            if not seen
        }
        return tuple(name for name in self.modalities if name in found)

    def remarks(self, subsets: Sequence[Subset]) -> list[str]:
        """Return what a user should know about these samples, in sentences.

        Args:
            subsets: Samples, from `Predictor.subset`.
        """
        remarks = list(self.notes)
        for name in self.unseen:
            count = sum(int((subset.lengths(name) > 0).sum()) for subset in subsets)
            if count:
                remarks.append(
                    f"No training sample had `{name}`, so nothing was learned about it: it is taken for absent in the "
                    f"{count} samples that have it."
                )
        return remarks

    def predict(self, subset: Subset, *, batch_size: int = 256, coupling: float = 1.0) -> PredictionTable:
        """Predict every sample: the mean over folds, as of `predict_folds`.

        Args:
            subset: Samples, from `Predictor.subset`.
            batch_size: Samples per pass; it changes nothing but speed and memory.
            coupling: Factor of what couples the modalities (see `qinn.explain.coupling.coupled`).

        Raises:
            ArgumentError: If the models have no coupling, or the factor is none.
            CheckpointError: If an output is not finite.
        """
        return mean_prediction(self.predict_folds(subset, batch_size=batch_size, coupling=coupling))

    def predict_folds(
        self, subset: Subset, *, batch_size: int = 256, coupling: float = 1.0
    ) -> list[PredictionTable]:
        """Predict every sample by the model of each fold, in the order of the folds' names.

        Args:
            subset: Samples, from `Predictor.subset`.
            batch_size: Samples per pass; it changes nothing but speed and memory.
            coupling: Factor of what couples the modalities (see `qinn.explain.coupling.coupled`).

        Raises:
            ArgumentError: If the models have no coupling, or the factor is none.
            CheckpointError: If an output is not finite.
        """
        tables: list[PredictionTable] = []
        for _, model in sorted(self.models.items()):
            with coupled(model, coupling):
                tables.append(predict(model, subset, batch_size=batch_size))
        return tables

    def model_of(self, fold: str | None) -> nn.Module:
        """Return the model of one fold (default: the only one).

        Raises:
            ConfigError: If the run has several folds and none, or an unknown one, is named.
        """
        if fold is None and len(self.models) == 1:
            fold = next(iter(self.models))
        if fold not in self.models:
            raise ConfigError(
                f"Run `{self.source}` has the folds {list(self.models)}; name one with `--fold`."
            )
        return self.models[fold]

    def explain(self, subset: Subset, *, fold: str | None = None) -> Explanation:
        """Explain every sample with the model of one fold (default: the only one).

        Raises:
            ConfigError: If the run has several folds and none, or an unknown one, is named.
            CheckpointError: If an output is not finite.
        """
        with torch.no_grad():
            explanation = explain(self.model_of(fold), subset)
        check_finite(explanation.ids, explanation.output)
        return explanation


def split_of(store: Store, split: str | None) -> str | None:
    """Return which split of a store is meant: None for all samples.

    Args:
        store: The store.
        split: A split; None for the test samples, and for all where there are none; ``"all"`` for all.
    """
    if split is None:
        return "test" if "test" in store.manifest["splits"] else None
    return None if split == "all" else split


def mean_prediction(tables: Sequence[PredictionTable]) -> PredictionTable:
    """Return the mean of what several models predict of the same samples.

    Args:
        tables: Predictions, one table per model.
    """
    deviations = [table.trajectory_std for table in tables if table.trajectory_std is not None]
    first = tables[0]
    return PredictionTable(
        ids=first.ids,
        labels=first.labels,
        groups=first.groups,
        outputs=np.mean([table.outputs for table in tables], axis=0),
        trajectory_std=np.mean(deviations, axis=0) if deviations else None,
    )


def _labels_of(task: Task) -> str:
    if task.kind == "regression":
        return f"scores from {task.low:g} to {task.high:g}"
    what = "labels" if task.kind == "multilabel" else "classes"
    return f"the {what} {', '.join(task.names)}"


def _first_mismatch(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else (lines[0] if lines else type(error).__name__)

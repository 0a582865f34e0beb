"""Searching the options of every model of a configuration with the same budget, by validation samples alone."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from qinn.atomic_writing import is_partial
from qinn.data.stores.store import Store
from qinn.data.stores.unchanged import open_unchanged
from qinn.data.subsets.cross_validation import Development
from qinn.destinations import check_folder
from qinn.digests import file_digest
from qinn.errors import ArgumentError, CheckpointError, ConfigError
from qinn.experiment import provenance
from qinn.experiment.build import build_folds, resolved
from qinn.experiment.config import ExperimentConfig, slug
from qinn.experiment.kept_encodings import ENCODINGS_FOLDER
from qinn.experiment.masked_texts import texts_for_training
from qinn.experiment.run import data_record, model_builder
from qinn.experiment.search_spaces import selection_of, spaces_of, with_choices
from qinn.experiment.tuning_config import Range, Space
from qinn.explain.activity import activity_of
from qinn.extras import needs, require
from qinn.folder_locks import held
from qinn.results.summary import UNKNOWN_COMMIT, joined_commits
from qinn.results.tuning import (
    TABLE_FILE,
    TRIALS_FILE,
    TUNED_FILE,
    Trial,
    TunedModel,
    TuningResult,
    read_trials,
)

with needs("tune", "Tuning"):
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.exceptions import StorageInternalError
    from optuna.trial import TrialState
    from sqlalchemy.exc import SQLAlchemyError

_STORAGE = "trials.db"
_OWN = {TABLE_FILE, TRIALS_FILE, TUNED_FILE, _STORAGE, f"{_STORAGE}-journal"}
_OVERLAP = (
    "Cross-validation: samples that chose in one fold are tested in another, so that test scores of the tuned "
    "configuration flatter a little; a fixed split has no such overlap."
)


def tune(
    config: ExperimentConfig,
    folder: Path | str,
    *,
    trials: int | None = None,
    storage: str | None = None,
    on_trial: Callable[[int, int, str], None] | None = None,
) -> TuningResult:
    """Train each model as many times with other options, and write the configuration that does best on validation.

    Every model has the same number of trials, its own configuration the first. A trial sees training and validation
    samples only (`Development`, which has no test samples); its value is the one that selects the epoch. Trial k
    depends on the seed, on k and on the trials before it, so that a killed search goes on as if nothing had happened.

    Args:
        config: The experiment; its section `tune` says what is searched.
        folder: Where ``tuned.yaml``, ``trials.json`` and ``trials.md`` go.
        trials: Trainings of each model; those of the configuration if None.
        storage: URL of the database of trials, as Optuna takes it; ``trials.db`` in the folder if None.
        on_trial: Called with (trials done, trials in all, what the last was) after each.

    Raises:
        ConfigError: If nothing can be searched, a key is unknown, a value is impossible, the store cannot be opened, or
            every trial failed.
        CheckpointError: If the folder holds something else, or the result of another configuration.
        MissingPackageError: If what the extras `train` and `tune` bring is not installed.
        OutputError: If another command works in the folder, or it cannot be written.
    """
    require("train", "tune", what="Tuning")
    provenance.commit()  # before anything is loaded that may be of a later one
    folder, settings = Path(folder), config.tune
    if storage is not None and not storage.strip():
        raise ConfigError(
            "Option `storage` is empty; give a URL such as sqlite:///trials.db, or leave it out."
        )
    number = settings.trials if trials is None else trials
    check_folder(folder, inputs=[config.data.store])
    foreign = {entry.name for entry in folder.glob("*") if not is_partial(entry)} - _OWN
    if foreign:
        raise CheckpointError(
            f"Folder `{folder}` holds `{min(foreign)}`, which no tuning made; choose another folder."
        )
    store = open_unchanged(config.data.store)
    spaces = spaces_of(config, store)
    developments = _developments(config, store)
    with held(folder):
        _check_own(
            folder,
            {
                label: _identity(config, label, space, store, len(developments))
                for label, space in spaces.items()
            },
        )
        url = storage or f"sqlite:///{(folder / _STORAGE).absolute()}"
        torch.set_flush_denormal(True)
        torch.set_num_threads(config.threads)
        searches = {
            label: _Search(config, label, spaces[label], store, developments, url, folder / ENCODINGS_FOLDER)
            for label in spaces
        }
        total = number * len(searches)
        # Trial after trial of every model in turn, so that a search that is stopped was equally long for each.
        for wanted in range(number):
            for index, (label, search) in enumerate(searches.items()):
                if search.num_finished <= wanted:
                    search.try_next()
                    if on_trial is not None:
                        on_trial(wanted * len(searches) + index + 1, total, f"trial {wanted} of {label}")
        shutil.rmtree(folder / ENCODINGS_FOLDER, ignore_errors=True)
        found = {label: search.result(number) for label, search in searches.items()}
        if all(model.best is None for model in found.values()):
            label, first = next(iter(found.items()))
            raise ConfigError(f"Every trial failed, the first of `{label}` since: {first.trials[0].failure}")
        result = TuningResult(
            name=config.name,
            data=data_record(store, config, developments[0].train),
            num_trials=number,
            seed=settings.seed,
            storage=_STORAGE if storage is None else provenance.without_passwords(storage),
            models=found,
            remarks=tuple(
                dict.fromkeys(
                    [
                        *([_OVERLAP] if config.data.split != "fixed" else []),
                        *(said for search in searches.values() for said in search.remarks()),
                    ]
                )
            ),
            **{
                **provenance.origin(),
                "commit": joined_commits(one.commit for model in found.values() for one in model.trials),
            },
            folder=folder,
        )
        result.write(_tuned_text(config, result))
        return result


def _check_own(folder: Path, identities: Mapping[str, str]) -> None:
    """Refuse a folder with the result of another search, or one that was changed, which this one would replace.

    Raises:
        CheckpointError: Naming a model that was searched otherwise there, or the changed file.
    """
    if not (folder / TRIALS_FILE).exists():
        if (folder / TUNED_FILE).exists():
            raise CheckpointError(
                f"Folder `{folder}` holds `{TUNED_FILE}` without the trials that it comes from; choose another folder, "
                "or move the file away."
            )
        return
    found = read_trials(folder)
    for name, digest in (found.files or {}).items():
        if (folder / name).exists() and file_digest(folder / name) != digest:
            raise CheckpointError(
                f"`{folder / name}` was changed since it was written, and this search would write it anew; move it "
                "away, and repeat the command, which keeps all trials."
            )
    for label, model in found.models.items():
        if model.identity and identities.get(label) != model.identity:
            what = "has another model, data or space to search" if label in identities else "lacks it"
            raise CheckpointError(
                f"Folder `{folder}` holds the trials of `{label}` as another configuration has it (this one {what}); "
                "choose another folder by `--to`."
            )


def _developments(config: ExperimentConfig, store: Store) -> list[Development]:
    """Return training and validation samples, and nothing that leads to test samples."""
    if config.data.split != "fixed" and not config.tune.allow_overlap:
        raise ConfigError(
            f"Key `data.split` is `{config.data.split}`, and in a cross-validation every sample is tested in some "
            "fold, so that none may choose. Divide the store by `qinn data split`, or set "
            "`tune.allow_overlap: true`, which the result then says."
        )
    folds = build_folds(store, config.data, seed=config.tune.seed)
    return [fold.development for fold in folds[: config.tune.folds]]


def _identity(
    config: ExperimentConfig, label: str, space: Mapping[str, Space], store: Store, num_folds: int
) -> str:
    """Whose trials these are: another model, training, space, seed or store has others; all else changes no fit."""
    seed = config.tune.seed
    config = config.only(label, seed)
    told = {
        # Of the store counts what is in it, not where it lies.
        "config": config.model_dump(
            mode="json",
            include={"data", "encoder", "training", "threads"},
            exclude={"data": {"store"}, "training": {"tensorboard", "checkpoint_seconds"}},
        ),
        "model": config.models[label].model_dump(mode="json"),
        "space": {
            key: one.model_dump() if isinstance(one, Range) else list(one) for key, one in space.items()
        },
        "seed": seed,
        "folds": num_folds,
        "data": store.sha256,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


class _Search:
    """The trials of one model, in a study of Optuna's.

    Args:
        config: The experiment.
        label: The model.
        space: What is searched.
        store: The data.
        developments: Training and validation samples of each fold.
        url: Where trials are kept.
        encodings: Folder in which all trials share transcripts that are encoded anew: the seed is the same in all.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        label: str,
        space: Mapping[str, Space],
        store: Store,
        developments: Sequence[Development],
        url: str,
        encodings: Path,
    ) -> None:
        self.config, self.label, self._encodings = config, label, encodings
        self.monitor, self.direction = selection_of(config, label, store)
        self.store, self.developments = store, developments
        self.space = {key: _distribution(one) for key, one in space.items()}
        self.seed = config.tune.seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.identity, self._url = _identity(config, label, space, store, len(developments)), url
        with _stored(url):
            self.study: optuna.Study = optuna.create_study(
                storage=url,
                study_name=f"{config.name}: {label} [{self.identity}]",
                direction="minimize" if self.direction == "min" else "maximize",
                load_if_exists=True,
            )
            self._drop_interrupted()

    def _drop_interrupted(self) -> None:
        """Mark trials that a killed search left unfinished; they are made again."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _finished(self) -> list[Any]:
        """Return the trials that ended by themselves: with a value, or with why there is none."""
        with _stored(self._url):
            return [
                one
                for one in self.study.get_trials(deepcopy=False)
                if "seconds" in one.user_attrs
                and (one.state == TrialState.COMPLETE or one.user_attrs["failure"])
            ]

    @property
    def num_finished(self) -> int:
        """Number of trials that ended by themselves, whether training failed or not."""
        return len(self._finished())

    def try_next(self) -> None:
        """Make the next trial."""
        done = self.num_finished
        # Of its own for every trial: what is drawn depends on its number and the trials before it alone.
        self.study.sampler = optuna.samplers.TPESampler(
            seed=int(hashlib.sha256(f"{self.seed} {done}".encode()).hexdigest()[:8], 16)
        )
        with _stored(self._url):
            trial = self.study.ask({} if done == 0 else self.space)
        value, epoch, seconds, failure, asleep = self._trained(_rounded(trial.params))
        with _stored(self._url):
            try:
                trial.set_user_attr("epoch", epoch)
                trial.set_user_attr("failure", failure)
                trial.set_user_attr("asleep", asleep)
                trial.set_user_attr("commit", provenance.commit())
                trial.set_user_attr("seconds", seconds)
                failed = TrialState.FAIL if value is None else None
                self.study.tell(trial, value, state=failed)
            except optuna.exceptions.UpdateFinishedTrialError as error:
                raise CheckpointError(
                    f"Another search of `{self.label}` began meanwhile in `{provenance.without_passwords(self._url)}` "
                    "and took this trial for one that was killed; let one of them end, then repeat this one, which "
                    "keeps all trials."
                ) from error

    def _trained(self, choices: Mapping[str, Any]) -> tuple[float | None, float | None, float, str, bool]:
        """Return validation value, its epoch, seconds, why there is no value, and whether the dynamics sleep."""
        from qinn.training.fit import fit

        clock = time.perf_counter()
        values, epochs, asleep = [], [], False
        try:
            config = with_choices(self.config, self.label, choices).only(self.label, self.seed)
            config = resolved(config, self.store)
            parts = [one for each in self.developments for one in (each.train, each.valid)]
            build = model_builder(config, self.store, parts)
            texts, _ = texts_for_training(self.store, config, self._encodings)
            for development in self.developments:
                model = build(feature_dims=development.train.dims)
                with tempfile.TemporaryDirectory(prefix="qinn-trial-") as place:
                    found = fit(
                        model,
                        development,
                        task=self.store.task,
                        options=config.training.options(),
                        folder=Path(place),
                        seed=self.seed,
                        texts=texts,
                    )
                values.append(found.best_value)
                epochs.append(found.best_epoch)
                acting = activity_of(model, development.valid)
                asleep = asleep or (acting is not None and acting.asleep)
        except (ArgumentError, ConfigError) as error:
            return None, None, round(time.perf_counter() - clock, 3), str(error), False
        seconds = round(time.perf_counter() - clock, 3)
        return float(np.mean(values)), float(np.mean(epochs)), seconds, "", asleep

    def remarks(self) -> list[str]:
        """Say of which texts steps go as they are, under what was configured and under every choice that was tried."""
        of_absence = (
            {name: value for name, value in one.params.items() if name.startswith("absent_")}
            for one in self._finished()
            if one.value is not None
        )
        found: list[str] = []
        for choices in dict.fromkeys(json.dumps(_rounded(one), sort_keys=True) for one in of_absence):
            config = with_choices(self.config, self.label, json.loads(choices)).only(self.label, self.seed)
            found += texts_for_training(self.store, resolved(config, self.store))[1]
        return found

    def result(self, most: int) -> TunedModel:
        """Return the trials, those of a longer search left out.

        Args:
            most: How many.
        """
        trials = [
            Trial(
                number=number,
                value=one.value,
                choices=_rounded(one.params),
                epoch=one.user_attrs["epoch"],
                seconds=one.user_attrs["seconds"],
                failure=one.user_attrs["failure"],
                asleep=one.user_attrs.get("asleep", False),
                commit=one.user_attrs.get("commit", UNKNOWN_COMMIT),
            )
            for number, one in enumerate(self._finished()[:most])
        ]
        known = [one for one in trials if one.value is not None]
        sign = 1 if self.direction == "min" else -1
        best = min(known, key=lambda one: sign * (one.value or 0.0)).number if known else None
        return TunedModel(
            model=self.config.models[self.label].kind,
            monitor=self.monitor,
            direction=self.direction,
            trials=tuple(trials),
            best=best,
            identity=self.identity,
        )


def _rounded(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return choices with numbers of four digits, as the result states them and as they are trained."""
    return {
        key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in choices.items()
    }


def _distribution(space: Space) -> BaseDistribution:
    if not isinstance(space, Range):
        return CategoricalDistribution(space)
    if isinstance(space.low, int) and isinstance(space.high, int):
        return IntDistribution(space.low, space.high, log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


@contextmanager
def _stored(url: str) -> Iterator[None]:
    """Turn what a database says into a sentence."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, ImportError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            f"The trials cannot be kept in `{provenance.without_passwords(url)}` ({reason}); give a URL such as sqlite:///trials.db."
        ) from error


def _tuned_text(config: ExperimentConfig, result: TuningResult) -> str:
    """Return the configuration with the best options of every model, as YAML that `qinn compare` reads."""
    lines = [
        f"# {config.name}, tuned: {result.num_trials} trials of each model, seed {result.seed}; no test samples.",
        "# command: qinn compare this file; every trial stands in trials.md beside it.",
    ]
    for label, found in result.models.items():
        if found.best is not None:
            best, given = found.trials[found.best], found.trials[0].value
            config = with_choices(config, label, best.choices)
            before = "" if given is None else f", as configured {given:.4g}"
            lines.append(f"# {slug(label)}: trial {best.number}, {found.monitor} {best.value:.4g}{before}")
    content = config.model_dump(mode="json", exclude_defaults=True, exclude={"models", "name", "data"})
    models = {
        label: {"kind": model.kind, **model.model_dump(mode="json", exclude_defaults=True)}
        for label, model in config.models.items()
    }
    data = config.data.model_dump(mode="json", exclude_defaults=True)
    content = {"name": f"{config.name}-tuned", "data": data, "models": models, **content}
    return "\n".join(lines) + "\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

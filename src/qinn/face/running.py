"""What `qinn train`, `tune`, `evaluate`, `predict`, `calibrate` and `publish` do, as functions."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qinn.data.subsets.absence import Absence
from qinn.errors import ArgumentError
from qinn.experiment.calibrating import calibrate_run
from qinn.experiment.certainty import certainty_of as certainty_of
from qinn.experiment.config import ExperimentConfig, parse_config, read_config
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.prediction import predict_store
from qinn.experiment.prediction_files import predictions_destination, write_predictions
from qinn.experiment.prediction_rows import PredictionRow
from qinn.experiment.publishing import publish_run
from qinn.face.new_samples import Sources, listed, new_samples
from qinn.results.calibration import CalibrationRecord
from qinn.results.coverage import LEVEL
from qinn.results.evaluation import EvaluationResult
from qinn.results.folder import RunFolder
from qinn.results.tuning import TuningResult
from qinn.typed_arguments import typed

Configuration = ExperimentConfig | Mapping[str, object] | Path | str
"""A configuration, what a file of one holds, or the file."""


def configured(config: Configuration, source: str = "qinn.train") -> ExperimentConfig:
    """Return a configuration, checked.

    Args:
        config: The configuration.
        source: Who was given it, for messages.

    Raises:
        ConfigError: If the file is missing, no YAML, or has an unknown key or impossible value.
    """
    if isinstance(config, ExperimentConfig):
        return config
    return read_config(config) if isinstance(config, (str, Path)) else parse_config(config, source)


@typed
def train(
    config: Configuration,
    to: Path | str | None = None,
    *,
    model: str | None = None,
    seed: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
    on_remark: Callable[[str], None] | None = None,
) -> RunFolder:
    """Train one model with one seed, then evaluate it on the sealed test split: what `qinn train` does.

    Args:
        config: The experiment: a YAML file, or what one holds.
        to: Folder of the run, ``runs/NAME/MODEL/seed-SEED`` if None; a run that was killed continues where it stopped.
        model: Label of the model; the first if None.
        seed: The seed; the first if None.
        overwrite: Replace a run of another configuration or of other data.
        progress: Whether to show a bar.
        on_remark: Called before the training with each sentence about what it will cost, where that is much.

    Returns:
        The run: `summary()` and `metrics()` say what it found, and `qinn.load` makes its `path` a predictor.

    Raises:
        ConfigError: If the configuration is wrong, or has no such model.
        CheckpointError: If the folder holds another run.
        OutputError: If it cannot be written.
    """
    from qinn.experiment.comparison import run_path
    from qinn.experiment.run import run
    from qinn.experiment.run_place import check_not_compared

    experiment = configured(config)
    label = model if model is not None else next(iter(experiment.models))
    chosen = experiment.only(label, experiment.seeds[0] if seed is None else int(seed))
    folder = Path(to) if to else run_path(Path("runs") / experiment.name, label, chosen.seeds[0])
    if overwrite:
        check_not_compared(folder)
    return run(chosen, folder, overwrite=overwrite, progress=progress, on_remark=on_remark)


@typed
def tune(
    config: Configuration,
    to: Path | str | None = None,
    *,
    trials: int | None = None,
    storage: str | None = None,
    on_trial: Callable[[int, int, str], None] | None = None,
) -> TuningResult:
    """Search the options of every model with the same budget, by validation samples alone: what `qinn tune` does.

    Args:
        config: The experiment: a YAML file, or what one holds; its section `tune` says what is searched.
        to: Folder of the result, ``runs/NAME-tuning`` if None: ``tuned.yaml``, which `compare` reads, ``trials.json``
            and ``trials.md``. A search that was killed continues where it stopped.
        trials: Trainings of each model; as configured if None.
        storage: URL of the database of trials, such as ``sqlite:///trials.db``; ``trials.db`` in the folder if None.
        on_trial: Called with (trials done, trials in all, what the last was) after each.

    Returns:
        Every trial of every model.

    Raises:
        ArgumentError: If `trials` is below 1.
        ConfigError: If nothing can be searched, or a key or a value is impossible.
        CheckpointError: If the folder holds something else.
        MissingPackageError: If what the extras `train` and `tune` bring is not installed.
    """
    from qinn.experiment.tuning import tune as tune_models

    experiment = configured(config, "qinn.tune")
    if trials is not None and trials < 1:
        raise ArgumentError(f"Argument `trials` must be 1 or more, but it is {trials}.")
    folder = Path(to) if to else Path("runs") / f"{experiment.name}-tuning"
    return tune_models(experiment, folder, trials=trials, storage=storage, on_trial=on_trial)


@typed
def evaluate(
    run: Path | str,
    *,
    split: str | None = "test",
    store: Path | str | None = None,
    absent: Sequence[str] = (),
    absent_rate: float = 0.0,
    absent_seed: int | None = None,
) -> EvaluationResult:
    """Recompute a run's predictions from its weights and state every metric with its interval: `qinn evaluate`.

    Args:
        run: Folder of a finished run.
        split: Only the samples of this split; None for all of another store.
        store: Another store than the one that the run was trained on.
        absent: Modalities to do without.
        absent_rate: Probability with which each modality of each sample is absent.
        absent_seed: What is absent at that rate depends on this and on the samples' ids alone; 0 if None.

    Returns:
        Every metric with its interval, beside those of the complete samples where something was taken away, and how
        near the outputs are to those that the run stored.

    Raises:
        ConfigError: If the split does not exist.
        ArgumentError: If samples have no labels, there is no such modality, or a seed is given without a rate.
        CheckpointError: If the run is damaged, or of other samples than its data.
    """
    if absent_seed is not None and not absent_rate:
        raise ArgumentError(
            f"Argument `absent_seed` goes with `absent_rate`, which is 0, but it is {absent_seed}; give a rate, or "
            "leave the seed out."
        )
    absence = Absence(tuple(absent), absent_rate, absent_seed or 0)
    return evaluate_run(run, split=split, store=store, absence=absence)


@typed
def predict(
    run: Path | str,
    store: Sources,
    to: Path | str | None = None,
    *,
    layout: str | None = None,
    options: Mapping[str, object] | None = None,
    split: str | None = None,
    batch_size: int = 256,
    absent: Sequence[str] = (),
    coupling: float = 1.0,
    level: float = LEVEL,
    overwrite: bool = False,
    on_remark: Callable[[str], None] | None = None,
) -> list[PredictionRow]:
    """Predict scores with intervals, or class probabilities with the classes that cannot be excluded: `qinn predict`.

    Args:
        run: Folder of a finished run, or of a model in a comparison: all its seeds, by the mean of what they predict.
        store: The samples: a store; or files and folders, which are read as the run's own data were imported (see
            `qinn.face.new_samples.new_samples`).
        to: A .csv or .parquet file to write; none if None.
        layout: Layout of the files, where it is another than that of the run's own data.
        options: Options of the import that differ for these files, by the names of `qinn.import_data`.
        split: Only the samples of this split; if None the test samples, and all where there are none; ``"all"`` for
            all.
        batch_size: Samples per pass; results do not depend on it.
        absent: Modalities to do without.
        coupling: Factor of what couples the modalities, or memory and stream; 1 is what was learned.
        level: Share of new samples whose label intervals, or sets of classes, are to hold.
        overwrite: Replace a file that another program made, or was changed since.
        on_remark: Called with each sentence that a user should know.

    Returns:
        A row for each sample (see `qinn.experiment.prediction.predict_store`).

    Raises:
        ArgumentError: If the file's name has another suffix, or the model no coupling.
        CheckpointError: If the run is damaged, or made for other features.
        OutputError: If the file cannot be written.
        ConfigError: If nothing says how files are to be read.
        DataError: If a file is damaged, or not what its layout says.
    """
    if to is not None:
        predictions_destination(to, overwrite=overwrite, inputs=[run, *listed(store)])
    with new_samples(run, store, absent=absent, layout=layout, options=options) as samples:
        if on_remark is not None:
            for note in samples.notes:
                on_remark(note)
        rows = predict_store(
            run,
            samples.store,
            split=split,
            batch_size=batch_size,
            absent=absent,
            coupling=coupling,
            level=level,
            on_remark=on_remark,
        )
    if to is not None:
        changed = write_predictions(Path(to), rows, overwrite=overwrite)
        if changed and on_remark is not None:
            on_remark(
                f"{changed} texts begin like a formula of a spreadsheet (= + - @ ' or a tab), so an apostrophe stands "
                "before them; programs take it away, or read a .parquet file"
            )
    return rows


@typed
def predict_by_ray(
    run: Path | str,
    store: Path | str,
    to: Path | str,
    *,
    split: str | None = None,
    batch_size: int = 256,
    absent: Sequence[str] = (),
    coupling: float = 1.0,
    level: float = LEVEL,
    address: str | None = None,
    processes: int | None = None,
    overwrite: bool = False,
    on_remark: Callable[[str], None] | None = None,
) -> int:
    """Predict a store of millions on a cluster of Ray, part by part, into a file: `qinn predict --engine ray`.

    Args:
        run: Folder of a finished run, or of a model in a comparison; every machine sees it under the same path.
        store: The samples, likewise.
        to: A .parquet file to write: the rows of `predict`, in their order.
        split: As of `predict`; so are those that are not named here.
        batch_size: Samples per pass.
        absent: Modalities to do without.
        coupling: Factor of what couples the modalities.
        level: Share of new samples whose label intervals, or sets of classes, are to hold.
        address: Of the cluster, such as ``"10.0.0.1:6379"``; one of this machine alone, for this call, if None.
        processes: How many predict at the same time; one for each core if None.
        overwrite: Replace a file that another program made, or was changed since.
        on_remark: Called with each sentence that a user should know.

    Returns:
        How many samples were predicted.

    Raises:
        ArgumentError: If the file is no .parquet, or the model has no coupling.
        CheckpointError: If the run is damaged, or made for other features.
        ConfigError: If there is no cluster at the address.
        MissingPackageError: If what the extra `ray` brings is not installed.
        OutputError: If the file cannot be written.
    """
    from qinn.experiment.ray_prediction import predict_by_ray as predict_parts

    return predict_parts(
        run,
        store,
        to,
        split=split,
        batch_size=batch_size,
        absent=absent,
        coupling=coupling,
        level=level,
        address=address,
        processes=processes,
        overwrite=overwrite,
        on_remark=on_remark,
    )


@typed
def calibrate(run: Path | str, store: Path | str, *, split: str | None = None) -> CalibrationRecord:
    """Keep a run's errors on samples of your own, of which `predict` makes intervals from then on: `qinn calibrate`.

    Args:
        run: Folder of a finished run, or of a model in a comparison.
        store: Labelled samples that are new to the run.
        split: Only the samples of this split.

    Returns:
        What is kept: the errors, and of which samples they are.

    Raises:
        DataError: If samples have no labels.
        CheckpointError: If the run is damaged, or made for other features.
    """
    return calibrate_run(run, store, split=split)


@typed
def publish(
    run: Path | str,
    to: Path | str,
    *,
    license: str = "",
    data_terms: str = "",
    overwrite: bool = False,
) -> Path:
    """Write a run as a folder that can be given away: what `qinn publish` does.

    It holds configuration, weights (safetensors), calibration and a model card, and nothing of single samples or of
    this machine; no file of it is a pickle. `qinn.load`, `qinn.predict` and `qinn.explain_run` take it in place of the
    run.

    Args:
        run: Folder of a finished run, or of a model in a comparison: the mean of its seeds.
        to: The folder to be.
        license: Of the weights, for the card.
        data_terms: What the data are, who is in them and under which terms, for the card.
        overwrite: Replace a published model that is there.

    Returns:
        The folder.

    Raises:
        CheckpointError: If the run is incomplete or damaged.
        OutputError: If the place holds something else or cannot be written.
    """
    return publish_run(run, to, license=license, data_terms=data_terms, overwrite=overwrite)

"""The configuration of an experiment: one YAML file, checked key by key.

Example of a file::

    name: my-experiment
    data: {store: stores/mosi, modalities: [text, audio]}
    encoder: {kind: attention, hidden_dim: 48}
    models:
      qinn: {kind: qinn, state_dims: {text: 8, audio: 4}}
      text only: {kind: unimodal, modality: text}
    training: {max_epochs: 30}
    seeds: [0, 1, 2]
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from qinn.errors import ConfigError
from qinn.evaluation.metric_names import METRICS_BY_CONVENTION
from qinn.experiment.encoder_config import DROPOUT, EncoderConfig, TransformerConfig
from qinn.experiment.key_errors import RENAMED, explain, nearest
from qinn.experiment.model_configs import Strict, parse_model
from qinn.experiment.tuning_config import TuneConfig
from qinn.results.folder import RunFolder
from qinn.training.options import FitOptions, weight_decay_for
from qinn.yaml_files import read_yaml, yaml_of

_LONGEST_SLUG = 120
_LONGEST_NAME = 200
LARGEST_SEED = 2**32 - 1
"""What every generator of random numbers takes."""

AbsentRate = Annotated[float, Field(ge=0, lt=1)]
ClassWeight = Annotated[float, Field(gt=0, le=1e6)]


class DataConfig(Strict):
    """Which data, which modalities, and how the samples are divided."""

    store: Path = Field(description="Folder of a store made by `qinn data import`")
    modalities: tuple[str, ...] | None = Field(
        default=None, description="Modalities to use, in tensor-product order (default: all)"
    )
    pool: tuple[str, ...] = Field(
        default=(),
        description="Modalities whose sequences enter as one vector: mean and standard deviation over the steps",
    )
    split: Literal["fixed", "fold", "group"] = Field(
        default="fixed",
        description="The store's own splits; its folds in turn; or one group (actor, video …) left out in turn",
    )
    valid_fraction: float = Field(
        default=0.15, gt=0, lt=1, description="Part of the remaining samples that selects the epoch"
    )
    allow_leak: bool = Field(
        default=False, description="Accept fixed splits in which a group occurs in more than one split"
    )


class _Training(Strict):
    """How to train every model that does not say otherwise: the fields of `qinn.training.options.FitOptions`."""

    def options(self) -> FitOptions:
        """Return the options for `qinn.training.fit.fit`.

        Raises:
            ConfigError: If one is still `auto` (see `resolved_training`).
        """
        values = self.model_dump()
        if "auto" in (values["weight_decay"], values["refit"]):
            raise ConfigError("`auto` has to be resolved by the number of samples before training begins.")
        return FitOptions(**values)


_FINER: dict[str, Any] = {
    "absent_rate": AbsentRate | tuple[AbsentRate, AbsentRate] | dict[str, AbsentRate],
    "selection_rates": tuple[Annotated[float, Field(ge=0, le=1)], ...],
    "class_weights": Literal["balanced"] | list[ClassWeight] | None,
    "weight_decay": Annotated[float, Field(ge=0, le=1e6)] | Literal["auto"],
    "refit": bool | Literal["auto"],
}
"""Types that bounds inside of them, or a rule in place of a number, make finer in a configuration."""

_BY_RULE: dict[str, tuple[float | str, str]] = {
    "weight_decay": (
        1e-2,
        "Decoupled weight decay (matrices only); auto: 1 / (`learning_rate` × steps), from 0.001 to 10, so that what "
        "nothing renews loses two fifths of its size in `max_epochs`, however many samples there are",
    ),
    "refit": (
        "auto",
        "Once the validation samples have chosen the number of epochs, train anew on training and validation samples "
        "together for that many; auto: true of models of kind `linear`, of which validation samples choose nothing, "
        "false of those that are trained",
    ),
}
"""Keys that can be `auto`, a rule that is resolved before anything is trained: their defaults and what they mean."""

if TYPE_CHECKING:
    # A frozen dataclass under a model: what `create_model` makes below, which type checkers cannot follow.
    class TrainingConfig(_Training, FitOptions):  # pyright: ignore[reportGeneralTypeIssues]
        """What a type checker is to see."""

else:
    TrainingConfig = create_model(
        "TrainingConfig",
        __base__=_Training,
        __module__=__name__,
        __doc__=_Training.__doc__,
        **{
            one.name: (_FINER.get(one.name, one.type), Field(one.default, **one.metadata))
            if one.name not in _BY_RULE
            else (_FINER[one.name], Field(_BY_RULE[one.name][0], description=_BY_RULE[one.name][1]))
            for one in fields(FitOptions)
        },
    )


def resolved_training(training: TrainingConfig, num_train: int, *, solved: bool = False) -> TrainingConfig:
    """Return the section `training` with numbers in place of `auto`.

    Args:
        training: The section.
        num_train: Number of training samples.
        solved: Whether the model is solved, not trained, so that validation samples choose nothing of it.
    """
    values = training.model_dump()
    if values["weight_decay"] == "auto":
        given = {name: values[name] for name in ("learning_rate", "batch_size", "max_epochs")}
        values["weight_decay"] = weight_decay_for(num_train, **given)
    if values["refit"] == "auto":
        values["refit"] = solved
    return TrainingConfig.model_validate(values)


class EvaluationConfig(Strict):
    """How results are stated."""

    num_resamples: int = Field(default=2000, ge=100, le=10**6, description="Bootstrap resamples")
    level: float = Field(default=0.95, gt=0, lt=1, description="Level of the intervals")
    explain: bool = Field(
        default=True, description="Whether quantum models are explained on the test samples"
    )
    margins: dict[str, Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]] = Field(
        default={},
        description="Metric → the difference from which on one matters to you, stated before results are seen: what is "
        "shown to differ by less from the reference is called equivalent, and nothing where there is no margin",
    )

    @field_validator("margins")
    @classmethod
    def _check_margins(cls, value: dict[str, float]) -> dict[str, float]:
        known = {metric.name: None for metrics in METRICS_BY_CONVENTION.values() for metric in metrics}
        for name in value:
            if name not in known:
                raise ValueError(
                    f"no metric is called `{name}`{nearest(name, known)}; there are {list(known)}"
                )
        return value


class ExperimentConfig(Strict):
    """One experiment: data, models by label, training, evaluation, seeds."""

    name: str = Field(default="experiment", description="Names the folder of the runs")
    data: DataConfig = Field(description="Which samples, and how they are divided")
    encoder: EncoderConfig = Field(
        default=EncoderConfig(), description="How the features of a modality become one vector"
    )
    models: dict[str, Any] = Field(
        min_length=1,
        description="Each under a label of your own, which names its folder and its row in tables",
    )
    reference: str | None = Field(
        default=None, description="Label of the model that the others are tested against (default: the first)"
    )
    simple_rows: bool = Field(
        default=True,
        description="Whether `qinn compare` adds the constant and linear models (`kind: linear`, early, late and "
        "stacked) that the models lack",
    )
    trained_elsewhere: dict[str, str | tuple[str, ...]] = Field(
        default={},
        description="Label → files with the test predictions of a model that was trained elsewhere, one for each seed: "
        "a list, or one name with `{seed}`. Its row is judged as all others",
    )
    training: TrainingConfig = Field(
        default=TrainingConfig(), description="How models are trained that do not say otherwise"
    )
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="How results are stated")
    tune: TuneConfig = Field(default=TuneConfig(), description="How `qinn tune` searches")
    seeds: tuple[Annotated[int, Field(ge=0, le=LARGEST_SEED)], ...] = Field(
        default=(0,), min_length=1, max_length=10_000, description="Each model is trained once with each"
    )
    threads: int = Field(
        default=1, ge=1, le=1024, description="Threads of one run; part of what makes it exact"
    )

    @field_validator("models", mode="before")
    @classmethod
    def _parse_models(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("must map labels to models")
        return {str(label): parse_model(str(label), model) for label, model in value.items()}

    @field_validator("trained_elsewhere", mode="before")
    @classmethod
    def _parse_files(cls, value: Any) -> Any:
        def text_of(named: Any) -> Any:
            if isinstance(named, list | tuple):
                return [text_of(one) for one in named]
            return str(named) if isinstance(named, Path) else named

        return (
            {str(label): text_of(named) for label, named in value.items()}
            if isinstance(value, Mapping)
            else value
        )

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        named = value.isprintable() and any(letter.isalnum() for letter in value)
        if not named or Path(value).name != value:
            raise ValueError(
                "`name` must have letters or digits, no slash and only what can be printed, since it names a folder"
            )
        if (length := len(value.encode())) > _LONGEST_NAME:
            raise ValueError(
                f"`name` must have at most {_LONGEST_NAME} bytes, since it names a folder, but it has {length}; choose "
                "a shorter one"
            )
        return value

    @model_validator(mode="after")
    def _check_labels(self) -> "ExperimentConfig":
        if self.reference is not None and self.reference not in self.models:
            given = ", which was trained elsewhere" if self.reference in self.trained_elsewhere else ""
            raise ValueError(
                f"`reference` must be one of {list(self.models)}, but it is `{self.reference}`{given}"
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"`seeds` must be distinct, but they are {list(self.seeds)}")
        for label, model in self.models.items():
            own = getattr(model, "training", {})
            try:
                TrainingConfig.model_validate({**self.training.model_dump(), **own})
            except ValidationError as error:
                raise ValueError(
                    f"`training` of model `{label}`: {explain(error, TrainingConfig)}"
                ) from error
            self.encoder_of(label)
        self._check_trained_elsewhere()
        labels = (*self.models, *self.trained_elsewhere)
        if any(not label.strip() for label in labels):
            raise ValueError("model labels must not be empty, since they name rows of tables")
        slugs = [slug(label) for label in labels]
        if len(set(slugs)) != len(slugs):
            twice = next(name for name in slugs if slugs.count(name) > 1)
            same = [label for label in labels if slug(label) == twice]
            raise ValueError(
                f"model labels must differ in letters and digits, since they name folders, but {same} are one folder"
            )
        return self

    def _check_trained_elsewhere(self) -> None:
        for label, named in self.trained_elsewhere.items():
            if isinstance(named, str) and "{seed}" not in named and len(self.seeds) > 1:
                raise ValueError(
                    f"`trained_elsewhere` of `{label}` is one file, `{named}`, but there are {len(self.seeds)} seeds; "
                    "name a file for each, as a list or by `{seed}`"
                )
            if not isinstance(named, str) and len(named) != len(self.seeds):
                raise ValueError(
                    f"`trained_elsewhere` of `{label}` must have one file for each of {len(self.seeds)} seeds, but it "
                    f"has {len(named)}: means and deviations of a table are over as many trainings of every model"
                )
            if len(set(self._files_of(named))) < len(self.seeds):
                raise ValueError(
                    f"`trained_elsewhere` of `{label}` must not name a file twice, since seeds differ"
                )

    def _files_of(self, named: str | tuple[str, ...]) -> list[Path]:
        if isinstance(named, str):
            return [Path(named.replace("{seed}", str(seed))) for seed in self.seeds]
        return [Path(one) for one in named]

    def files_trained_elsewhere(self) -> dict[str, list[Path]]:
        """Return the files of each model that was trained elsewhere, in the order of the seeds."""
        return {label: self._files_of(named) for label, named in self.trained_elsewhere.items()}

    def encoder_of(self, label: str) -> EncoderConfig:
        """Return the encoder of one model: the experiment's, with the transformer's options of its own.

        Raises:
            ValueError: If one of these is impossible.
        """
        own = getattr(self.models[label], "transformer", {})
        if not own:
            return self.encoder
        if self.encoder.transformer is None:
            raise ValueError(
                f"`transformer` of model `{label}` needs an `encoder.transformer` to differ from"
            )
        try:
            changed = TransformerConfig.model_validate({**self.encoder.transformer.model_dump(), **own})
        except ValidationError as error:
            raise ValueError(
                f"`transformer` of model `{label}`: {explain(error, TransformerConfig)}"
            ) from error
        return self.encoder.model_copy(update={"transformer": changed})

    @property
    def reference_label(self) -> str:
        """Label of the model that the others are tested against."""
        return self.reference or next(iter(self.models))

    def only(self, label: str, seed: int) -> "ExperimentConfig":
        """Return the same experiment with one model and one seed.

        Raises:
            ConfigError: If there is no such model, or the seed is negative or too large.
        """
        if not 0 <= seed <= LARGEST_SEED:
            raise ConfigError(f"A seed must be 0 or more and at most {LARGEST_SEED}, but it is {seed}.")
        if label not in self.models:
            raise ConfigError(
                f"The configuration has no model `{label}`{nearest(label, self.models)}; it has {list(self.models)}."
            )
        model, training = self.models[label], self.training
        if own := getattr(model, "training", {}):
            training = TrainingConfig.model_validate({**training.model_dump(), **own})
            model = model.model_copy(update={"training": {}})
        if getattr(model, "transformer", {}):
            model = model.model_copy(update={"transformer": {}})
        update = {
            "models": {label: model},
            "encoder": self.encoder_of(label),
            "training": training,
            "seeds": (seed,),
            # What is stated of several models is not part of one, which may be in comparisons with other statements.
            "reference": None,
            "simple_rows": True,
            "trained_elsewhere": {},
            "tune": TuneConfig(),
            "evaluation": self.evaluation.model_copy(update={"margins": {}}),
        }
        return self.model_copy(update=update)


def slug(label: str) -> str:
    """Return a label as a folder name: lower-case letters, digits and hyphens.

    A label with letters of another script than ASCII's, without any letter or digit, or too long for a folder gets a
    mark of its own at the end, made from the whole label.

    Examples:
        >>> slug("QiNN-QJ (jumps)"), slug("模型 1"), slug("…")
        ('qinn-qj-jumps', '1-3fac0fb3', 'model-b4935894')
    """
    words = "".join(c if c.isalnum() and c.isascii() else " " for c in label.lower()).split()
    name = "-".join(words)
    if name and len(name) <= _LONGEST_SLUG and not any(c.isalnum() and not c.isascii() for c in label):
        return name
    mark = hashlib.sha256(label.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{name[:_LONGEST_SLUG].strip('-') or 'model'}-{mark}"


def parse_config(content: object, source: str) -> ExperimentConfig:
    """Check the content of a configuration.

    Args:
        content: What the YAML file holds.
        source: Name of the file, for messages.

    Raises:
        ConfigError: Naming the first wrong key and, for an unknown one, the nearest known key.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(
            f"Configuration `{source}` must hold keys and values, but it holds {type(content).__name__}."
        )
    try:
        return ExperimentConfig.model_validate(dict(content))
    except ValidationError as error:
        raise ConfigError(f"Configuration `{source}`: {explain(error, ExperimentConfig)}") from error


def read_config(path: Path | str) -> ExperimentConfig:
    """Read and check a YAML configuration file.

    Raises:
        ConfigError: If the file is missing, no YAML, or has an unknown key or impossible value.
    """
    return parse_config(read_yaml(Path(path)), str(path))


def read_run_config(path: Path | str) -> ExperimentConfig:
    """Read the configuration of a run or comparison folder: as `read_config`, those of earlier versions translated.

    Raises:
        ConfigError: As `read_config`.
    """
    return parse_config(_translated(read_yaml(Path(path))), str(path))


def config_of(run: RunFolder) -> ExperimentConfig:
    """Return the configuration of a complete run, known to be the one that ``run.json`` means.

    Raises:
        CheckpointError: If it is missing or not of this run.
        ConfigError: If it is not valid.
    """
    return parse_config(_translated(yaml_of(run.config_text(), run.config_file)), str(run.config_file))


def _translated(content: object) -> object:
    """Give what earlier versions wrote its present meaning, so that runs made before can be read."""
    if not isinstance(content, Mapping):
        return content
    translated = dict(content)
    encoder, models, training = (content.get(key) for key in ("encoder", "models", "training"))
    if isinstance(encoder, Mapping) and isinstance(encoder.get("modality_dropout"), Mapping):
        renamed = dict(encoder)
        if by_modality := renamed.pop("modality_dropout"):
            renamed["head_dropout"] = renamed.get("dropout", DROPOUT)
            renamed["dropout"] = by_modality
        translated["encoder"] = renamed
    if isinstance(models, Mapping):
        translated["models"] = {label: _model_of_now(model) for label, model in models.items()}
    if isinstance(training, Mapping):
        translated["training"] = {"refit": False, **_renamed(training, "training")}
    return translated


def _renamed(keys: Mapping[str, object], section: str) -> dict[str, object]:
    return {RENAMED[section].get(key, key): value for key, value in keys.items()}


def _model_of_now(model: object) -> object:
    """Give the keys of a model their names of now.

    The rates of a quantum model of a version without `max_rate` are unbounded, since a run names every key.
    """
    if not isinstance(model, Mapping):
        return model
    now = _renamed(model, "models")
    if isinstance(training := now.get("training"), Mapping):
        now["training"] = _renamed(training, "training")
    return {"max_rate": "unbounded", **now} if now.get("kind") == "qinn" else now

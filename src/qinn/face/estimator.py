"""Any model of the package as an estimator, trained on arrays in memory."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from qinn.data.subsets.absence_protocols import Pattern, ProtocolName
from qinn.errors import ArgumentError, CheckpointError, QinnError
from qinn.evaluation.conformal import (
    HeldOut,
    check_level,
    intervals,
    prediction_sets,
    probability_above,
)
from qinn.evaluation.outcomes import decided, outcome_probabilities
from qinn.experiment.model_configs import DynamicsKind, EvolutionKind
from qinn.face.arrays import in_one_line, is_mapping
from qinn.face.explained import ExplainedSamples, explained_samples
from qinn.face.fitting import Fitted, Validation, divided, outputs_of, restored, sets_of_labels, trained
from qinn.face.intervals import Floats, Intervals
from qinn.face.labels import (
    Labels,
    Scale,
    check_equally_many,
    classes_of,
    groups_of,
    labels_of,
    numbers_of,
    one_row,
    scores_of,
)
from qinn.face.options import Chosen, chosen, seed_of
from qinn.face.samples import PLAIN, Samples, is_frame_of_modalities
from qinn.face.saving import read_estimator, write_estimator
from qinn.face.scikit import HAS_SCIKIT, Base, NotFittedError, check_like_scikit, tagged
from qinn.model.encoders import EncoderKind
from qinn.model.fusion import AbsentState
from qinn.model.linear import LinearForm
from qinn.model.readout import HeadKind
from qinn.model.streams import StreamForm
from qinn.training.objective import ClassWeights, LossKind


class Estimator(Base):
    """A model of sentiment, or of anything else, from several modalities or one: fitted on arrays in memory.

    It has scikit-learn's interface and works where that is not installed. Every parameter is the key of the same name
    in a configuration, where it is described, but for those described here.

    Args:
        kind: ``"qinn"``, or a baseline: ``"linear"``, ``"concatenation"``, ``"late_fusion"``, ``"tensor_fusion"``,
            ``"low_rank_fusion"``, ``"gru_stream"``, ``"lstm_stream"``, ``"mult"``, ``"misa"``, ``"self_mm"``,
            ``"almt"``, ``"unimodal"``, ``"constant"``.
        task: ``"regression"`` (scores), ``"classification"``, or ``"multilabel"`` (several labels, each present or
            absent).
        random_state: Seed of everything that is drawn: weights, validation samples, their order, trajectories. None
            draws one from numpy's global generator; a generator of numpy's is drawn from.
        device: Where to train: ``"auto"`` takes a GPU where there is one, ``"cpu"`` and ``"gpu"`` (or ``"cuda"``)
            choose. A fitted model predicts on the CPU.
        threads: Threads of torch while it fits and predicts; results are the same for the same number.
        verbose: Whether to show a bar of the progress.
        scale: Which conventions the metrics of a regression follow: ``"mosi"`` for scores in [-3, 3], ``"sims"`` for
            those in [-1, 1], ``"plain"`` otherwise.
        label_range: Lowest and highest possible score; if None those of the scale, or that occur.
        label_names: Names of several labels; if None those of a data frame's columns, or ``label 0`` ….
        threshold: Probability from which on one of several labels is decided to be present; 0.5 if None.
        encoder: Kind of the encoders of sequences: ``"statistics"`` (mean and deviation over the steps),
            ``"attention"``, ``"gru"``; or modality → kind.
        memory_dim: If None, 4 for ``"qinn"`` and 16 for recurrent models.
        num_layers: If None, 4 for ``"mult"`` and 3 for ``"almt"``.
        modality: The modality that ``"unimodal"`` sees.
        state_dims, num_vectors, evolution, ...: Of the model.
        hidden_dim, step_dim, dropout, head_dropout: Of its encoders.
        max_epochs, batch_size, learning_rate, patience, refit, ...: Of the training.

    Attributes:
        classes_: Classes, or names of the labels, in the order of `predict_proba`'s columns.
        n_features_in_: Number of features of all modalities together.
        feature_names_in_: Names of the columns of the data frame, where it was one.
        modalities_: Modality → number of features.
        model_: The trained network.
        history_: One row per epoch: losses and validation metrics.
        best_epoch_: Epoch (from 0) whose weights were kept.
        seed_: The seed that was used.

    Examples:
        >>> generator = np.random.default_rng(0)
        >>> X = {"text": generator.normal(size=(40, 3)), "audio": [generator.normal(size=(4, 2)) for _ in range(40)]}
        >>> estimator = Estimator(state_dims=2, max_epochs=2, random_state=0).fit(X, X["text"][:, 0])
        >>> estimator.predict(X).shape
        (40,)
    """

    feature_names_in_: npt.NDArray[Any]
    classes_: npt.NDArray[Any]

    def __init__(
        self,
        kind: str = "qinn",
        task: Literal["regression", "classification", "multilabel"] = "regression",
        *,
        random_state: Any = None,
        device: Literal["auto", "cpu", "gpu", "cuda"] = "auto",
        threads: int = 1,
        verbose: bool = False,
        scale: Scale = "plain",
        label_range: Sequence[float] | None = None,
        label_names: Sequence[str] | None = None,
        threshold: float | None = None,
        # the model
        state_dims: int | Mapping[str, int] = 4,
        evolution: EvolutionKind = "jumps",
        dynamics: DynamicsKind = "pooled",
        num_jumps: int = 2,
        num_vectors: int = 16,
        head: HeadKind = "mlp",
        time: float = 1.0,
        steps: int = 16,
        sampled: float = 0.5,
        num_trajectories: int = 4,
        num_evaluation_trajectories: int = 32,
        per_trajectory: bool = True,
        absent_state: AbsentState = "mixed",
        memory_dim: int | None = None,
        form: StreamForm = "factorised",
        relaxation: bool = False,
        by_pass: bool = True,
        hamiltonian_scale: float = 1.0,
        jump_scale: float = 0.5,
        max_rate: float | Literal["unbounded"] | None = None,
        tolerance: float | None = None,
        outcome_dropout: float = 0.0,
        lean: float = 2.0,
        factor_dim: int = 8,
        rank: int = 4,
        num_layers: int | None = None,
        num_heads: int = 4,
        max_steps: int = 50,
        guide: str | None = None,
        num_tokens: int = 8,
        similarity_weight: float = 1.0,
        difference_weight: float = 0.3,
        reconstruction_weight: float = 1.0,
        fusion: LinearForm = "early",
        modality: str | None = None,
        parameter_budget: int | None = None,
        # its encoders
        encoder: EncoderKind | Mapping[str, EncoderKind] = "statistics",
        hidden_dim: int = 32,
        step_dim: int = 10,
        dropout: float | Mapping[str, float] = 0.2,
        head_dropout: float | None = None,
        # the training
        max_epochs: int = 40,
        batch_size: int = 64,
        bucket: int = 0,
        learning_rate: float = 2e-3,
        weight_decay: float | Literal["auto"] = 1e-2,
        schedule: Literal["one_cycle", "constant"] = "one_cycle",
        patience: int = 10,
        gradient_clip: float = 1.0,
        loss: LossKind | None = None,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = None,
        absent_rate: float | tuple[float, float] | Mapping[str, float] = 0.0,
        absent_all: bool = False,
        absent_protocol: ProtocolName = "whole",
        absent_pattern: Pattern = "scattered",
        absent_burst: float = 5.0,
        selection_rates: Sequence[float] = (),
        monitor: str = "loss",
        deterministic: bool = True,
        refit: bool | Literal["auto"] = "auto",
    ) -> None:
        self.kind = kind
        self.task = task
        self.random_state = random_state
        self.device = device
        self.threads = threads
        self.verbose = verbose
        self.scale = scale
        self.label_names = label_names
        self.threshold = threshold
        self.label_range = label_range
        self.state_dims = state_dims
        self.evolution = evolution
        self.dynamics = dynamics
        self.num_jumps = num_jumps
        self.num_vectors = num_vectors
        self.head = head
        self.time = time
        self.steps = steps
        self.sampled = sampled
        self.num_trajectories = num_trajectories
        self.num_evaluation_trajectories = num_evaluation_trajectories
        self.per_trajectory = per_trajectory
        self.absent_state = absent_state
        self.memory_dim = memory_dim
        self.form = form
        self.relaxation = relaxation
        self.by_pass = by_pass
        self.hamiltonian_scale = hamiltonian_scale
        self.jump_scale = jump_scale
        self.max_rate = max_rate
        self.tolerance = tolerance
        self.outcome_dropout = outcome_dropout
        self.lean = lean
        self.factor_dim = factor_dim
        self.rank = rank
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.max_steps = max_steps
        self.guide = guide
        self.num_tokens = num_tokens
        self.similarity_weight = similarity_weight
        self.difference_weight = difference_weight
        self.reconstruction_weight = reconstruction_weight
        self.fusion = fusion
        self.modality = modality
        self.parameter_budget = parameter_budget
        self.encoder = encoder
        self.hidden_dim = hidden_dim
        self.step_dim = step_dim
        self.dropout = dropout
        self.head_dropout = head_dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.bucket = bucket
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.patience = patience
        self.gradient_clip = gradient_clip
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.absent_rate = absent_rate
        self.absent_all = absent_all
        self.absent_protocol = absent_protocol
        self.absent_pattern = absent_pattern
        self.absent_burst = absent_burst
        self.selection_rates = selection_rates
        self.monitor = monitor
        self.deterministic = deterministic
        self.refit = refit

    def fit(self, X: object, y: object, groups: object = None, validation: object = 0.15) -> "Estimator":
        """Train on some samples, keeping the weights of the epoch that does best on a part that is held out.

        Args:
            X: `Samples`; a mapping from modalities to their features (see `Samples`); a data frame with a column per
                modality; or a plain array (n, d), which is one modality.
            y: One score or class per sample; of several labels (n, labels): 1 or 0, NaN where one is not known.
            groups: One group (speaker, video …) per sample: none is on both sides of the validation split.
            validation: The part to hold out, above 0 and below 1; or ``(X, y)`` of validation samples; or None, which
                holds nothing out and keeps the last epoch's weights; settings of how they choose (`monitor`,
                `patience`, `selection_rates`) are then refused.

        Returns:
            The estimator.

        Raises:
            ArgumentError: If samples, labels or parameters are impossible, or training diverges.
        """
        before = dict(self.__dict__)
        try:
            samples = self._samples(X, first=True)
            labels = self._labels(y)
            labels.check_belong_to(samples)
            seed = seed_of(self.random_state)
            choice = self.configuration(seed)
            held = self._given_validation(validation, labels, is_plain=PLAIN in samples.dims)
            parts = divided(samples, labels, groups_of(groups, len(samples)), held, seed)
            fitted = trained(
                choice, parts, dims=samples.dims, kinds=samples.kinds, task=labels.task, progress=self.verbose
            )
        except BaseException:
            # An estimator that was fitted before stays that one.
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        self._take(fitted, labels.classes, seed)
        return self

    def predict(self, X: object) -> npt.NDArray[Any]:
        """Return one score, the most probable class, or 1 and 0 for several labels (n, labels), for each sample.

        Args:
            X: Samples with the modalities of the fit, as `fit` takes them; None in place of one that is absent.

        Raises:
            NotFittedError: If the estimator was not fitted.
            ArgumentError: If the modalities are others than those of the fit.
        """
        outputs = self._outputs(X)
        if self._fitted().task.kind == "regression":
            return outputs[:, 0]
        if self._fitted().task.kind == "multilabel":
            return decided(self._fitted().task, outputs).astype(np.int64)
        return self.classes_[outputs.argmax(axis=1)]

    @property
    def predict_proba(self) -> Callable[[object], Floats]:
        """Return the probability of each class, or that each label is present, (n, classes), as ``classes_`` has them.

        Only where the task is ``"classification"`` or ``"multilabel"``; takes what `predict` takes.
        """
        task = self._fitted().task.kind if hasattr(self, "_state") else self.task
        if task not in ("classification", "multilabel"):
            raise AttributeError(
                f"An estimator of task `{task}` has no `predict_proba`; choose the task `classification`."
            )
        return self._probabilities

    def predict_interval(self, X: object, level: float = 0.9) -> "Intervals":
        """Return each sample's score with the interval that is to hold its true one, and how likely that is positive.

        Split conformal prediction: the score ± the ⌈level · (n + 1)⌉-th smallest absolute error on the n validation
        samples of the fit, as the model was before a refit (`qinn.evaluation.conformal`). New samples have to be like
        those; that these also chose the epoch makes intervals a little narrow.

        Args:
            X: Samples, as for `predict`.
            level: Share of new samples whose interval is to hold their score.

        Raises:
            NotFittedError: If the estimator was not fitted.
            ArgumentError: If it predicts classes (`predict_set`), its fit held nothing out, or the level is not between
                0 and 1.
        """
        held_out = self._held_out("regression", "predict_interval", "predict_set")
        check_level(level)
        outputs = self._outputs(X).T
        low, high = intervals(outputs, held_out, level)
        return Intervals(outputs[0], low, high, probability_above(outputs, held_out, 0.0))

    def predict_set(self, X: object, level: float = 0.9) -> npt.NDArray[np.bool_]:
        """Return which classes cannot be excluded for each sample, (n, classes), in the order of ``classes_``.

        Least ambiguous sets by split conformal prediction: a class stays unless its probability is below that of the
        label in all but a share 1 − level of the validation samples of the fit (`qinn.evaluation.conformal`). Of
        several labels each has a set of its own, (n, labels, 2): whether it can be absent, whether it can be present.

        Args:
            X: Samples, as for `predict`.
            level: Share of new samples whose set is to hold their class; of several labels, for each of them.

        Raises:
            NotFittedError: If the estimator was not fitted.
            ArgumentError: If it predicts scores (`predict_interval`), its fit held nothing out, or the level is not
                between 0 and 1.
        """
        check_level(level)
        if (fitted := self._fitted()).task.kind == "multilabel":
            if not fitted.held_out_labels:
                raise _nothing_held_out("predict_set")
            return sets_of_labels(fitted, self._outputs(X), level)
        held_out = self._held_out("classification", "predict_set", "predict_interval")
        return prediction_sets(self._probabilities(X)[None], held_out, level)

    def score(self, X: object, y: object) -> float:
        """Return the coefficient of determination R² of the predictions, or the accuracy of the classes.

        Of several labels, as in scikit-learn, the share of samples of which every label that is known is right.

        Args:
            X: Samples.
            y: Their labels.
        """
        found = self.predict(X)
        if self._fitted().task.kind == "multilabel":
            known = self._labels(y, self.classes_).values
            check_equally_many(found, known)
            right: npt.NDArray[np.bool_] = np.asarray((found == known) | (known < 0), dtype=bool)
            return float(np.mean(np.asarray(right.all(axis=1))))
        is_classifier = self._fitted().task.kind == "classification"
        given = one_row(y) if is_classifier else numbers_of(y)
        check_equally_many(found, given)
        if is_classifier:
            return float(np.mean(np.asarray(found == given)))
        residual = float(np.sum((given - found) ** 2))
        total = float(np.sum((given - given.mean()) ** 2))
        # As scikit-learn: of constant labels a perfect prediction has 1, any other 0.
        return 1.0 - residual / total if total > 0 else float(residual == 0)

    def explain(self, X: object, *, label: str | None = None) -> ExplainedSamples:
        """Say why the model predicts what it does, sample by sample.

        Entanglement and correlation between modalities, the output after each removal, and of models along the stream
        what every step does.

        Args:
            X: Samples, as for `predict`.
            label: Of several labels, as named in `classes_`, the one whose probability is explained; the first if None.

        Raises:
            NotFittedError: If the estimator was not fitted.
            ArgumentError: If the modalities are others than those of the fit, or there is no such label.
        """
        fitted, samples = self._fitted(), self._samples(X)
        subset = self._aligned(samples).subset(fitted.task)
        return explained_samples(fitted, subset, threads=self._threads(), label=label)

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the fitted estimator as a folder, which appears complete or not at all.

        It holds ``estimator.json`` and ``weights.safetensors``; nothing in it is a pickle.

        Args:
            path: The folder to be.
            overwrite: Replace an estimator that was saved there before.

        Returns:
            The folder.

        Raises:
            NotFittedError: If the estimator was not fitted.
            OutputError: If the place is taken or cannot be written.
        """
        fitted = self._fitted()
        # What was fitted, whatever `set_params` has said since.
        parameters = {**self._fit_parameters, "random_state": self.seed_}
        return write_estimator(
            Path(path),
            fitted,
            parameters=parameters,
            classes=getattr(self, "classes_", None),
            feature_names=getattr(self, "feature_names_in_", None),
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, path: Path | str) -> "Estimator":
        """Return the estimator that was saved in a folder; it predicts what it predicted then.

        Args:
            path: The folder.

        Raises:
            CheckpointError: If there is none, or a file is damaged or of another version.
        """
        saved = read_estimator(Path(path))
        try:
            estimator = cls(**saved.parameters)
            seed = seed_of(saved.parameters["random_state"])
            choice = estimator.configuration(seed)
            model = restored(choice, saved.weights, dims=saved.dims, kinds=saved.kinds, task=saved.task)
        except (QinnError, TypeError, KeyError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".:")
            raise CheckpointError(
                f"`{path}` does not fit this version of qinn ({reason}); save the estimator again."
            ) from error
        fitted = Fitted(
            model,
            saved.task,
            saved.dims,
            saved.kinds,
            saved.history,
            saved.best_epoch,
            saved.axis,
            saved.held_out,
            saved.held_out_labels,
        )
        estimator._take(fitted, saved.classes, seed)
        if saved.feature_names is not None:
            estimator.feature_names_in_ = saved.feature_names
        return estimator

    def configuration(self, seed: int = 0) -> Chosen:
        """Return the configuration that the parameters mean.

        Args:
            seed: Seed.

        Raises:
            ArgumentError: If one is impossible.
        """
        return chosen(self.get_params(deep=False), _defaults(), seed=seed)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_state")

    if HAS_SCIKIT:

        def __sklearn_tags__(self) -> Any:
            return tagged(
                cast("Any", super()).__sklearn_tags__(),
                is_classifier=self.task != "regression",
                several=self.task == "multilabel",
            )

    def _take(self, fitted: Fitted, classes: npt.NDArray[Any] | None, seed: int) -> None:
        """Keep what came of a fit."""
        self._state = fitted
        self._fit_parameters = self.get_params(deep=False)
        self.model_ = fitted.model
        self.modalities_ = dict(fitted.dims)
        self.n_features_in_ = sum(fitted.dims.values())
        self.history_ = list(fitted.history)
        self.best_epoch_ = fitted.best_epoch
        self.seed_ = seed
        if classes is not None:
            self.classes_ = classes
        elif hasattr(self, "classes_"):
            del self.classes_

    def _fitted(self) -> Fitted:
        if not hasattr(self, "_state"):
            raise NotFittedError(
                "This Estimator is not fitted yet; call `fit` with samples and labels before it is asked."
            )
        return self._state

    def _held_out(self, kind: str, asked: str, other: str) -> HeldOut:
        """Return the errors on samples that the fit held out."""
        fitted = self._fitted()
        if fitted.task.kind != kind:
            raise ArgumentError(
                f"An estimator of task `{fitted.task.kind}` has no `{asked}`; call `{other}`, or choose the task "
                f"`{kind}`."
            )
        if fitted.held_out is None:
            raise _nothing_held_out(asked)
        return fitted.held_out

    def _samples(self, X: object, *, first: bool = False, is_plain: bool | None = None) -> Samples:
        """Return samples, of a plain array compared with what the fit saw, or noted as that."""
        samples = Samples.of(X)
        if not len(samples):
            raise ArgumentError(
                f"Found array with 0 sample(s) (shape={samples.shape}) while a minimum of 1 is required by Estimator."
            )
        is_array = not isinstance(X, Samples) and not is_mapping(X) and not is_frame_of_modalities(X)
        if first and hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        known = first or (PLAIN in self._fitted().dims if is_plain is None else is_plain)
        if is_array and samples.kinds[PLAIN] == "vector" and known:
            check_like_scikit(self, X, first=first)
        return samples

    def _aligned(self, samples: Samples) -> Samples:
        fitted = self._fitted()
        return samples.like(fitted.dims, fitted.kinds)

    def _labels(self, y: object, known: npt.NDArray[Any] | None = None) -> Labels:
        if self.task == "classification":
            return classes_of(y, known)
        if self.task == "multilabel":
            return labels_of(y, names=self.label_names, threshold=self.threshold, known=known)
        if self.task != "regression":
            raise ArgumentError(
                f"Argument `task` must be `regression`, `classification` or `multilabel`, but it is `{self.task}`."
            )
        return scores_of(y, scale=self.scale, label_range=self.label_range)

    def _given_validation(self, validation: object, labels: Labels, *, is_plain: bool) -> Validation:
        """Return what is to be held out: a part, given samples, or nothing."""
        if validation is None:
            return None
        if isinstance(validation, tuple) and len(cast("tuple[object, ...]", validation)) == 2:
            X, y = cast("tuple[object, object]", validation)
            samples = self._samples(X, is_plain=is_plain)
            given = self._labels(y, labels.classes)
            given.check_belong_to(samples)
            return samples, given
        with contextlib.suppress(TypeError, ValueError):
            if 0 < cast("Any", validation) < 1:
                return float(cast("Any", validation))
        raise ArgumentError(
            f"Argument `validation` must be above 0 and below 1, a pair (X, y) or None, but it is "
            f"{in_one_line(cast('object', validation))}."
        )

    def _outputs(self, X: object) -> Floats:
        fitted, samples = self._fitted(), self._samples(X)
        return outputs_of(fitted, self._aligned(samples).subset(fitted.task), threads=self._threads())

    def _threads(self) -> int:
        """Return how many threads predict, checked; what `set_params` has said of the model since plays no part."""
        parameters = {**self._fit_parameters, "threads": self.threads}
        return chosen(parameters, _defaults(), seed=self.seed_).config.threads

    def _probabilities(self, X: object) -> Floats:
        """Return the probability of each class, or label, for each sample, in the order of ``classes_``."""
        return outcome_probabilities(self._fitted().task, self._outputs(X))


def _nothing_held_out(asked: str) -> ArgumentError:
    return ArgumentError(
        f"Method `{asked}` needs errors on samples held out, but the fit held none out (or an earlier version "
        "saved it); fit with `validation`."
    )


def _defaults() -> dict[str, Any]:
    """Return every parameter as it is where a user says nothing."""
    return Estimator().get_params(deep=False)

"""How to train: every choice, with its default."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from qinn.errors import ArgumentError
from qinn.evaluation.conventions import metrics_of
from qinn.task import Task
from qinn.training.objective import LossKind, check_loss


@dataclass(frozen=True)
class FitOptions:
    """Options of `fit`.

    Attributes:
        max_epochs: Largest number of epochs.
        batch_size: Samples per step.
        bucket: Above 1: samples of this many batches are grouped by length, so that less is padding (see
            `qinn.data.subsets.batching.batches`); 0 for batches drawn at random.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Decoupled weight decay (matrices only).
        schedule: ``"one_cycle"`` (warm up for 15 % of the steps, then cosine to zero) or ``"constant"``.
        patience: Stop after this many epochs without a better validation value; 0 never stops early.
        gradient_clip: Largest gradient norm; 0 for no clipping.
        loss: Loss to minimise; None takes L1 for regression and cross-entropy for classification.
        label_smoothing: Label smoothing of the cross-entropy.
        modality_missing: Probability with which a training step removes a modality from a sample, one for all
            modalities or by modality (see `qinn.training.modality_dropout`). Validation is never touched.
        modality_missing_all: Whether that may leave a sample with nothing.
        monitor: What selects the epoch on the validation split: ``"loss"`` or a metric's name; or ``"last"``
            to keep the last epoch's weights and select nothing (needs ``patience=0``).
        deterministic: Refuse operations without a deterministic implementation.
        tensorboard: Whether to write TensorBoard logs beside the CSV history.
        checkpoint_seconds: After how many seconds another checkpoint is written, and the history on disk renewed, at
            the end of an epoch: what a kill loses at most, beside the epoch that it interrupts. 0: every epoch.
        refit: Once the validation samples have chosen the number of epochs, train anew on training and
            validation samples together for that many epochs (see `qinn.training.fit.refit`).
        accelerator: Where to train: ``"cpu"``, ``"gpu"`` or ``"auto"``; the trained model comes back to the CPU.
    """

    max_epochs: int = 40
    batch_size: int = 64
    bucket: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    patience: int = 10
    gradient_clip: float = 1.0
    loss: LossKind | None = None
    label_smoothing: float = 0.0
    modality_missing: float | Mapping[str, float] = 0.0
    modality_missing_all: bool = False
    monitor: str = "loss"
    deterministic: bool = True
    tensorboard: bool = True
    checkpoint_seconds: float = 5.0
    refit: bool = False
    accelerator: Literal["cpu", "gpu", "auto"] = "cpu"

    def missing_rates(self, modalities: Collection[str]) -> dict[str, float]:
        """Return the probability with which training removes each modality.

        Raises:
            ArgumentError: If a rate is not in [0, 1), or names a modality that the data lack.

        Examples:
            >>> FitOptions(modality_missing={"audio": 0.5}).missing_rates(["text", "audio"])
            {'text': 0.0, 'audio': 0.5}
        """
        given = self.modality_missing
        rates = given if isinstance(given, Mapping) else dict.fromkeys(modalities, given)
        if unknown := set(rates) - set(modalities):
            raise ArgumentError(
                f"Argument `modality_missing` must name modalities among {list(modalities)}, but it names "
                f"`{min(unknown)}`."
            )
        for name, rate in rates.items():
            if not 0 <= rate < 1:
                raise ArgumentError(
                    f"Argument `modality_missing` must be at least 0 and below 1, but it is {rate} for `{name}`; "
                    "leave a modality out with `data.modalities` instead."
                )
        return {name: float(rates.get(name, 0.0)) for name in modalities}

    def resolved_loss(self, task: Task) -> LossKind:
        """Return the loss for the task."""
        if self.loss is not None:
            return self.loss
        return "l1" if task.kind == "regression" else "cross_entropy"

    def selection(self, task: Task) -> tuple[str, Literal["min", "max"]]:
        """Return the validation value that selects the epoch and which way is better.

        Raises:
            ArgumentError: If the loss or the monitor belongs to another task, or nothing can stop early.

        Examples:
            >>> FitOptions(monitor="corr").selection(Task("regression", -3.0, 3.0, "mosi"))
            ('valid_corr', 'max')
        """
        check_loss(self.resolved_loss(task), task)
        if self.monitor == "last" and self.patience:
            raise ArgumentError(
                f"Argument `patience` must be 0 where `monitor` is `last`, but it is {self.patience}."
            )
        if self.monitor in ("loss", "last"):
            return "valid_loss", "min"
        known = metrics_of(task)
        if self.monitor not in known:
            raise ArgumentError(
                f"Argument `monitor` must be `loss`, `last` or one of {list(known)}, but it is `{self.monitor}`."
            )
        return f"valid_{self.monitor}", "max" if known[self.monitor].direction == "higher" else "min"

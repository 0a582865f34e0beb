"""How to train: every choice, with its default."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qinn.data.subsets.absence_protocols import (
    AbsenceProtocol,
    MaskedTexts,
    Pattern,
    ProtocolName,
    protocol_of,
)
from qinn.errors import ArgumentError
from qinn.evaluation.metric_names import metrics_of
from qinn.task import Task
from qinn.training.objective import ClassWeights, LossKind, check_loss, default_loss


def setting(default: Any, description: str, **bounds: float | int) -> Any:
    """Return a field of `FitOptions`; the key of a configuration takes default, description and bounds from it.

    Args:
        default: What it is where nothing is said.
        description: What it means.
        bounds: `ge`, `gt`, `le` or `lt` → what it can be in a configuration.
    """
    return field(default=default, metadata={"description": description, **bounds})


MOST_COUNTED = 2**31 - 1
"""Most epochs, samples of a batch and the like: numbers that cost nothing by being large."""


_LEAST_DECAY, _MOST_DECAY = 1e-3, 10.0


def weight_decay_for(num_train: int, *, learning_rate: float, batch_size: int, max_epochs: int) -> float:
    """Return the weight decay λ that `weight_decay: auto` stands for: 1 / (learning rate × steps).

    AdamW takes the share η_t λ from every weight in step t, η_t being the learning rate. With n training samples,
    batches of B and E epochs there are S = E⌈n/B⌉ steps, and λ = 1 / (η S): by the end of a training that does not stop
    early, weights that nothing renews have lost two fifths of their size (the mean of a one-cycle rate is about half of
    its peak η), however many samples there are. A fixed λ does next to nothing on small sets and much on large ones. At
    least 0.001, at most 10, and of two digits.

    Args:
        num_train: Number of training samples n.
        learning_rate: Peak learning rate η.
        batch_size: Samples per step B.
        max_epochs: Number of epochs E.

    Source: own; that 1/(ηλ) should be a fixed number of passes through the data: X. Wang, L. Aitchison, "How to set
        AdamW's weight decay as you scale model and dataset size", arXiv 2405.13698.

    Examples:
        >>> [weight_decay_for(n, learning_rate=2e-3, batch_size=64, max_epochs=40) for n in (200, 1284, 16000)]
        [3.1, 0.6, 0.05]
    """
    steps = max_epochs * math.ceil(num_train / batch_size)
    decay = min(max(1 / (learning_rate * steps), _LEAST_DECAY), _MOST_DECAY)
    return float(f"{decay:.2g}")


@dataclass(frozen=True)
class FitOptions:
    """Options of `fit`; the keys of the section `training` of a configuration are made of its fields."""

    max_epochs: int = setting(40, "Largest number of epochs", ge=1, le=MOST_COUNTED)
    batch_size: int = setting(64, "Samples per step", ge=1, le=MOST_COUNTED)
    bucket: int = setting(
        0,
        "Above 1: samples of this many batches are grouped by length, so that less is padding; 0 for batches drawn at "
        "random",
        ge=0,
        le=10**6,
    )
    learning_rate: float = setting(2e-3, "Peak learning rate of AdamW", gt=0, le=1e3)
    weight_decay: float = setting(1e-2, "Decoupled weight decay (matrices only)", ge=0, le=1e6)
    schedule: Literal["one_cycle", "constant"] = setting(
        "one_cycle", "`one_cycle` (warm up for 15 % of the steps, then cosine to zero) or `constant`"
    )
    patience: int = setting(
        10,
        "Stop after this many epochs without a better validation value; 0 never stops early",
        ge=0,
        le=MOST_COUNTED,
    )
    gradient_clip: float = setting(1.0, "Largest gradient norm; 0 for no clipping", ge=0, le=1e12)
    loss: LossKind | None = setting(
        None,
        "Loss to minimise (default: L1 for regression, cross-entropy for classification, binary cross-entropy for "
        "several labels)",
    )
    label_smoothing: float = setting(0.0, "Label smoothing of the cross-entropies", ge=0, lt=1)
    class_weights: ClassWeights = setting(
        None,
        "What the samples of each class count in the loss of training and validation: `balanced` (in inverse "
        "proportion to their number in training) or a list of weights in the order of the classes, of which only the "
        "ratios count; null for all alike. Of several labels: what the samples that have each count beside those that "
        "have it not",
    )
    absent_rate: float | tuple[float, float] | Mapping[str, float] = setting(
        0.0,
        "Rate at which training takes something away from its samples, anew in every epoch: one for all, by modality, "
        "or the lowest and the highest of those that are drawn, sample by sample; validation is touched by "
        "`selection_rates` alone",
    )
    absent_all: bool = setting(
        False, "Whether training may remove every modality of a sample, where `absent_protocol` is `whole`"
    )
    absent_protocol: ProtocolName = setting(
        "whole",
        "What goes at a rate: `whole` modalities, each on its own; `keep-one`: all but one, drawn for each sample, at "
        "such a rate that the share of all is the one stated; `steps`: tokens and frames",
    )
    absent_pattern: Pattern = setting(
        "scattered",
        "Of `steps`: each on its own (`scattered`), one `block` of a sample's, or `bursts` of several",
    )
    absent_burst: float = setting(
        5.0, "Of `bursts`: steps that go or stay together, on average", ge=1, le=1e6
    )
    selection_rates: tuple[float, ...] = setting(
        (),
        "Rates of absence, by the same protocol, over which every validation value is the mean, so that the epoch is "
        "chosen for all of them; none: the validation samples as they are",
    )
    monitor: str = setting(
        "loss",
        "What selects the epoch on the validation split: `loss` or a metric's name; or `last` to keep the last epoch's "
        "weights and select nothing (needs `patience: 0`)",
    )
    deterministic: bool = setting(True, "Refuse operations without a deterministic implementation")
    tensorboard: bool = setting(True, "Whether to write TensorBoard logs beside the CSV history")
    checkpoint_seconds: float = setting(
        5.0,
        "After how many seconds an epoch's end writes another checkpoint and renews the history on disk: what a kill "
        "loses at most, beside the epoch that it interrupts; 0: every epoch",
        ge=0,
        le=86_400,
    )
    refit: bool = setting(
        False,
        "Once the validation samples have chosen the number of epochs, train anew on training and validation samples "
        "together for that many",
    )
    device: Literal["cpu", "gpu", "auto"] = setting(
        "cpu", "Where to train; the trained model comes back to the CPU"
    )

    def absent_rates(self, modalities: Collection[str]) -> dict[str, float]:
        """Return the rate at which training takes away of each modality; of a range, the highest.

        Raises:
            ArgumentError: If a rate is not in [0, 1), a range falls, or one names a modality that the data lack.

        Examples:
            >>> FitOptions(absent_rate={"audio": 0.5}).absent_rates(["text", "audio"])
            {'text': 0.0, 'audio': 0.5}
        """
        given = self.absent_rate
        if isinstance(given, tuple) and not 0 <= given[0] <= given[1]:
            raise ArgumentError(
                f"Argument `absent_rate` must have the lowest rate before the highest, but it is {list(given)}."
            )
        highest = given[1] if isinstance(given, tuple) else given
        rates = highest if isinstance(highest, Mapping) else dict.fromkeys(modalities, highest)
        if unknown := set(rates) - set(modalities):
            raise ArgumentError(
                f"Argument `absent_rate` must name modalities among {list(modalities)}, but it names "
                f"`{min(unknown)}`."
            )
        for name, rate in rates.items():
            if not 0 <= rate < 1:
                raise ArgumentError(
                    f"Argument `absent_rate` must be at least 0 and below 1, but it is {rate} for `{name}`; "
                    "leave a modality out with `data.modalities` instead."
                )
        return {name: float(rates.get(name, 0.0)) for name in modalities}

    def absence(self, texts: Mapping[str, MaskedTexts] | None = None) -> AbsenceProtocol:
        """Return what training takes away, and how.

        Args:
            texts: Modality → what encodes its transcripts again, of steps.

        Raises:
            ArgumentError: If there is no such protocol, or a rate of selection is not in [0, 1].
        """
        if any(not 0 <= rate <= 1 for rate in self.selection_rates):
            raise ArgumentError(
                f"Argument `selection_rates` must lie between 0 and 1, but they are {list(self.selection_rates)}."
            )
        return protocol_of(
            self.absent_protocol,
            keep_one=not self.absent_all,
            pattern=self.absent_pattern,
            burst=self.absent_burst if self.absent_pattern == "bursts" else None,
            texts=texts,
        )

    def resolved_loss(self, task: Task) -> LossKind:
        """Return the loss for the task."""
        if self.loss is not None:
            return self.loss
        return default_loss(task)

    def selection(self, task: Task) -> tuple[str, Literal["min", "max"]]:
        """Return the validation value that selects the epoch and which way is better.

        Raises:
            ArgumentError: If loss, smoothing or monitor belong to another task, or nothing can stop early.

        Examples:
            >>> FitOptions(monitor="corr").selection(Task("regression", -3.0, 3.0, "mosi"))
            ('valid_corr', 'max')
        """
        check_loss(self.resolved_loss(task), task)
        if self.label_smoothing and task.kind == "regression":
            raise ArgumentError(
                f"Argument `label_smoothing` must be 0 for a {task.kind} task, which has no classes, but it is "
                f"{self.label_smoothing}; leave it out."
            )
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

"""The training loop: epochs of optimisation steps and validation passes, and a state from which it goes on exactly."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from qinn.data.subsets.absence_protocols import MaskedTexts, Rates, sample_rates
from qinn.data.subsets.batching import BatchLoader, batch_of
from qinn.data.subsets.subset import Subset
from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.metrics import metrics
from qinn.explain.activity import activity_of_batches
from qinn.model.encoded_baseline import EncodedBaseline
from qinn.records import Batch
from qinn.task import Task
from qinn.training.device import training_device
from qinn.training.objective import loss_per_sample, training_loss, weights_of_classes
from qinn.training.options import FitOptions
from qinn.training.parameter_groups import parameter_groups

# Validation samples on which the activity of the dynamics is measured every epoch.
_WATCHED = 64


class TrainingLoop:
    """A model that is trained epoch by epoch.

    Args:
        model: The model to train; moved to the options' device.
        task: What is predicted.
        options: How to train.
        train: Training batches; told the epoch before each one.
        valid: Validation batches; None to train without.
        texts: Modality → what encodes its transcripts again, where steps of them are taken away.

    Attributes:
        history: One row per epoch, with ``epoch`` and, of a loop with validation, losses, metrics and the activity of
            the dynamics.
        steps: Optimisation steps taken.
        losing_seconds: CPU time of taking away what samples lose, texts encoded anew included: none of the model's, and
            no more than a look into files where another run of a comparison did it before.
        best: Epoch, monitored value and weights of the best validation epoch; None without one of a finite value, and
            where nothing is selected.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        task: Task,
        options: FitOptions,
        train: BatchLoader,
        valid: BatchLoader | None = None,
        texts: Mapping[str, MaskedTexts] | None = None,
    ) -> None:
        self.task = task
        self.options = options
        self.train = train
        self._complete = train.subset
        self.losing_seconds = 0.0
        self.absence = options.absence(texts)
        self.loses_some = any(options.absent_rates(train.subset.modalities).values())
        self.valid = [] if valid is None else self._for_selection(valid)
        self.device = training_device(options.device)
        self.model = model.to(self.device)
        weights = weights_of_classes(options.class_weights, train.subset.labels, task)
        self.class_weights = None if weights is None else torch.as_tensor(weights)
        self.optimizer = torch.optim.AdamW(parameter_groups(model, options), lr=options.learning_rate)
        self.scheduler = _scheduler(self.optimizer, options, len(train))
        self.auxiliary_loss = (
            model.auxiliary_loss(train.subset.ids, torch.as_tensor(train.subset.labels))
            if isinstance(model, EncodedBaseline)
            else None
        )
        self.history: list[dict[str, float]] = []
        self.steps = 0
        self.best: tuple[int, float, dict[str, torch.Tensor]] | None = None
        self._without_progress = 0
        self._is_hopeless = False

    @property
    def epoch(self) -> int:
        """Number of the next epoch: how many are done."""
        return len(self.history)

    @property
    def stops_early(self) -> bool:
        """Whether the validation values say that more epochs would not help."""
        return self._is_hopeless or 0 < self.options.patience <= self._without_progress

    def run_epoch(self, on_step: Callable[[], object] = lambda: None) -> None:
        """Train on every batch once, then validate, and select.

        Args:
            on_step: Called after every step.
        """
        self.model.train()
        self.train.set_epoch(self.epoch)
        if self.loses_some:
            self.train.subset = self._with_losses(self.epoch)
        loss, samples = 0.0, 0
        for batch in self.train:
            loss += self.step(batch.to(self.device)) * len(batch)
            samples += len(batch)
            on_step()
        if self.auxiliary_loss is not None:
            self.auxiliary_loss.end_epoch()
        row = {"epoch": float(self.epoch)}
        if self.valid:
            row.update(train_loss=loss / max(1, samples), **self._validation_values(self.valid))
            self._select(row)
        self.history.append(row)

    def _with_losses(self, epoch: int) -> Subset:
        """Return the training samples without what they lose in an epoch: the same in every model of a seed."""
        seed = f"training {self.train.seed} {epoch}"
        rates = sample_rates(self.options.absent_rate, self._complete, seed)
        return self._without(self._complete, rates, seed)

    def _for_selection(self, valid: BatchLoader) -> list[BatchLoader]:
        """Return the validation samples at every rate of the selection, with masks that are the same in all runs."""
        return [
            valid.of(self._without(valid.subset, dict.fromkeys(valid.subset.modalities, rate), "selection"))
            for rate in self.options.selection_rates
        ] or [valid]

    def _without(self, subset: Subset, rates: Rates, seed: str) -> Subset:
        started = time.process_time()
        lacking = self.absence.without(subset, rates, seed)
        self.losing_seconds += time.process_time() - started
        return lacking

    def step(self, batch: Batch) -> float:
        """Take one optimisation step and return the loss before it.

        Args:
            batch: Labelled samples.
        """
        loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        if self.options.gradient_clip:
            trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(trained, self.options.gradient_clip)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        self.steps += 1
        return float(loss.detach())

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return what a step makes smaller."""
        assert batch.labels is not None
        prediction = self.model(batch)
        loss = training_loss(
            prediction,
            batch.labels,
            self.options.resolved_loss(self.task),
            label_smoothing=self.options.label_smoothing,
            class_weights=self.class_weights,
        )
        return loss if self.auxiliary_loss is None else loss + self.auxiliary_loss.of(prediction, batch)

    def _validation_values(self, loaders: Sequence[BatchLoader]) -> dict[str, float]:
        """Mean over the rates of the selection of loss and metrics, and what the dynamics do at the first rate."""
        found = [self._values_of(loader) for loader in loaders]
        means = {name: sum(values[name] for values in found) / len(found) for name in found[0]}
        return means | self._activity_values(loaders[0])

    @torch.inference_mode()
    def _values_of(self, loader: BatchLoader) -> dict[str, float]:
        """Loss and metrics of the whole split, never means of batch means."""
        self.model.eval()
        outputs, labels = [], []
        for batch in loader:
            assert batch.labels is not None
            outputs.append(self.model(batch.to(self.device)).output.cpu())
            labels.append(batch.labels)
        output, label = torch.cat(outputs), torch.cat(labels)
        kind = self.options.resolved_loss(self.task)
        loss = loss_per_sample(output, label, kind, class_weights=self.class_weights).mean()
        found: dict[str, float | None] = dict.fromkeys(metrics_of(self.task))
        if bool(torch.isfinite(output).all()):
            found = metrics(self.task, label.numpy(), output.double().numpy())
        stated = {
            f"valid_{name}": math.nan if value is None else float(value) for name, value in found.items()
        }
        return {"valid_loss": float(loss)} | stated

    def _activity_values(self, loader: BatchLoader) -> dict[str, float]:
        """What the dynamics do to the first samples of the split, the same every epoch."""
        self.model.eval()
        # Of the split itself: where batches are of like length, the first one has its shortest samples.
        watched, size = range(min(_WATCHED, len(loader.subset))), self.options.batch_size
        parts = (watched[start : start + size] for start in watched[::size])
        activity = activity_of_batches(
            self.model, (batch_of(loader.subset, part).to(self.device) for part in parts)
        )
        if activity is None:
            return {}
        return {
            f"dynamics_{name}": float(value) for name, value in asdict(activity).items() if value is not None
        }

    def _select(self, row: dict[str, float]) -> None:
        """Keep the weights of an epoch that is better than all before it, and count those that are not."""
        if self.options.monitor == "last":
            return
        monitor, mode = self.options.selection(self.task)
        value, sign = row[monitor], 1 if mode == "min" else -1
        self._is_hopeless = bool(self.options.patience) and not math.isfinite(value)
        if math.isfinite(value) and (self.best is None or sign * value < sign * self.best[1]):
            self._without_progress = 0
            self.best = self.epoch, value, _copied(self.model.state_dict())
        else:
            self._without_progress += 1

    def to_state(self) -> dict[str, Any]:
        """Return what `restore` goes on from: tensors, numbers and their containers."""
        return {
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            # Dropout and trajectories of the next epoch follow from it.
            "random_state": torch.get_rng_state(),
            "auxiliary_loss": None if self.auxiliary_loss is None else self.auxiliary_loss.to_state(),
            "history": self.history,
            "steps": self.steps,
            "best": self.best,
            "without_progress": self._without_progress,
            "is_hopeless": self._is_hopeless,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same fit.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: If it is no state of such a loop.
        """
        self.model.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.auxiliary_loss is not None:
            self.auxiliary_loss.restore(state["auxiliary_loss"])
        self.history = list(state["history"])
        self.steps = state["steps"]
        self.best = state["best"]
        self._without_progress = state["without_progress"]
        self._is_hopeless = state["is_hopeless"]
        torch.set_rng_state(state["random_state"])


def _scheduler(
    optimizer: torch.optim.Optimizer, options: FitOptions, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """Return the chosen schedule of learning rates; None for constant ones."""
    if options.schedule == "constant":
        return None
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        total_steps=max(1, options.max_epochs * steps_per_epoch) + 1,
        pct_start=0.15,
    )


def _copied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights that training does not change any more, outside of a device's memory."""
    return {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}

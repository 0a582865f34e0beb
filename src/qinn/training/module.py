"""The thin Lightning module around a model."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

import qinn
from qinn.data.subsets.batching import BatchLoader
from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.metrics import metrics
from qinn.explain.activity import activity_of_batches
from qinn.extras import needs
from qinn.records import Batch, Prediction
from qinn.task import Task
from qinn.training.checkpoints import VERSION
from qinn.training.modality_dropout import drop_modalities
from qinn.training.objective import loss_per_sample, training_loss
from qinn.training.options import FitOptions
from qinn.training.parameter_groups import parameter_groups

with needs("train", "Training"):
    import lightning

# Validation samples on which the activity of the dynamics is measured every epoch.
_WATCHED = 64


class TrainingModule(lightning.LightningModule):
    """One optimisation step, one validation pass, and the random state that makes a resumed run exact.

    Args:
        model: The model to train.
        task: What is predicted.
        options: How to train.
        loader: Training batches; told the epoch before each one.
        steps_per_epoch: Number of training batches of an epoch.
        identity: Whose checkpoints these are.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        task: Task,
        options: FitOptions,
        loader: BatchLoader,
        steps_per_epoch: int,
        identity: str = "",
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.options = options
        self.loader = loader
        self.steps_per_epoch = steps_per_epoch
        self.identity = identity
        self.absent_rates = options.absent_rates(loader.subset.modalities)
        self.train_loss, self.num_trained = 0.0, 0
        self.valid_outputs: list[torch.Tensor] = []
        self.valid_labels: list[torch.Tensor] = []
        self.watched: Batch | None = None

    def on_train_epoch_start(self) -> None:
        """Choose the epoch's order of samples, which depends on the seed and the epoch alone."""
        self.loader.set_epoch(self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss of one batch, after modality dropout."""
        labels = batch.labels
        assert labels is not None
        if any(self.absent_rates.values()):
            batch = drop_modalities(
                batch,
                self.absent_rates,
                seed=(self.loader.seed, self.current_epoch, batch_idx),
                keep_one=not self.options.absent_all,
            )
        loss = training_loss(
            self.model(batch),
            labels,
            self.options.resolved_loss(self.task),
            label_smoothing=self.options.label_smoothing,
        )
        self.train_loss += float(loss.detach()) * len(batch)
        self.num_trained += len(batch)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the outputs: metrics are those of the whole split, never means of batch means."""
        assert batch.labels is not None
        if batch_idx == 0:
            self.watched = batch.first(_WATCHED)
        prediction: Prediction = self.model(batch)
        self.valid_outputs.append(prediction.output.detach().cpu())
        self.valid_labels.append(batch.labels.cpu())

    def on_validation_epoch_end(self) -> None:
        """Log, once an epoch, the mean training loss, what the whole validation split says, and what the dynamics do.

        The activity is that on the first samples of the validation split, the same every epoch.
        """
        outputs, labels = torch.cat(self.valid_outputs), torch.cat(self.valid_labels)
        self.valid_outputs.clear()
        self.valid_labels.clear()
        loss = loss_per_sample(outputs, labels, self.options.resolved_loss(self.task)).mean()
        values = {"train_loss": self.train_loss / max(1, self.num_trained), "valid_loss": float(loss)}
        self.train_loss, self.num_trained = 0.0, 0
        found: dict[str, float | None] = dict.fromkeys(metrics_of(self.task))
        if bool(torch.isfinite(outputs).all()):
            found = metrics(self.task, labels.numpy(), outputs.double().numpy())
        values.update({f"valid_{name}": np.nan if value is None else value for name, value in found.items()})
        assert self.watched is not None  # the validation split has samples
        activity = activity_of_batches(self.model, [self.watched])
        if activity is not None:
            known = asdict(activity).items()
            values.update({f"dynamics_{name}": value for name, value in known if value is not None})
        self.log_dict(values, batch_size=len(labels))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch to the trainer's device."""
        return batch.to(device)

    def configure_optimizers(self) -> Any:
        """AdamW on the model's parameter groups, and the chosen learning-rate schedule."""
        groups = parameter_groups(self.model, self.options)
        optimizer = torch.optim.AdamW(groups, lr=self.options.learning_rate)
        if self.options.schedule == "constant":
            return optimizer
        total = max(1, self.options.max_epochs * self.steps_per_epoch)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [group["lr"] for group in groups], total_steps=total + 1, pct_start=0.15
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the random state, from which dropout and trajectories of the next epoch follow, and whose this is."""
        checkpoint["qinn"] = {"version": VERSION, "qinn_version": qinn.__version__}
        checkpoint["random_state"] = torch.get_rng_state()
        checkpoint["identity"] = self.identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue with the random state of the checkpoint, and with the order of the epoch after it.

        Lightning draws the first iterator of a resumed fit before `on_train_epoch_start`.
        """
        torch.set_rng_state(checkpoint["random_state"])
        self.loader.set_epoch(checkpoint["epoch"] + 1)

"""What a user should know about the training of a run: what it never saw, and what its samples count."""

from typing import Any

import numpy as np

from qinn.data.subsets.cross_validation import Fold
from qinn.experiment.config import TrainingConfig
from qinn.results.number_text import brief
from qinn.task import Task
from qinn.training.objective import weights_of_classes


def absence_remarks(
    folds: list[Fold], model_config: Any, rates: dict[str, float], *, refit: bool
) -> list[str]:
    """Return what a user should know about modalities that were not there in training.

    Args:
        folds: The divisions of the data.
        model_config: The model's section of the configuration.
        rates: Modality → how often training takes it away.
        refit: Whether validation samples are trained on too, in the end.
    """
    parts = [fold.development.merged if refit else fold.development.train for fold in folds]
    absent = {name: [(part.lengths(name) == 0) for part in parts] for name in parts[0].modalities}
    unseen = [name for name, masks in absent.items() if any(mask.all() for mask in masks)]
    remarks = [
        f"No training sample has `{name}`, so nothing can be learned about it: it is taken for absent wherever it "
        "occurs, in validation and test too."
        for name in unseen
    ]
    complete = not any(rates.values()) and not any(mask.any() for masks in absent.values() for mask in masks)
    if getattr(model_config, "absent_state", "mixed") == "prior" and complete:
        remarks.append(
            "No modality is ever absent in training, so the learned priors (`absent_state: prior`) stay maximally "
            "mixed; set `training.absent_rate` to train them."
        )
    return remarks


def class_weight_remarks(folds: list[Fold], config: TrainingConfig, task: Task) -> list[str]:
    """State what the samples of each class count in training.

    Args:
        folds: The divisions of the data.
        config: How it trains.
        task: What is predicted.

    Raises:
        ArgumentError: If they can't be weighed so.
    """
    given = config.class_weights
    parts = [fold.development.merged if config.refit else fold.development.train for fold in folds]
    found = [weights_of_classes(given, part.labels, task) for part in parts]
    known = [weights for weights in found if weights is not None]
    if not known:
        return []
    mean_weights = np.mean(known, axis=0)
    if task.kind == "multilabel":  # what a present label counts beside an absent one
        mean_weights = mean_weights[:, 1] / mean_weights[:, 0]
    stated = ", ".join(
        f"{name} {brief(float(weight))}" for name, weight in zip(task.names, mean_weights, strict=True)
    )
    how = "in inverse proportion to their number" if given == "balanced" else "as the configuration says"
    mean = " (means over the folds)" if len(known) > 1 else ""
    what = "presence of each label beside its absence" if task.kind == "multilabel" else "the classes"
    return [f"The loss weighs {what} {how}: {stated}{mean}; metrics count all samples alike."]

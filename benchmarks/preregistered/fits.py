"""One fit of the study: from its description to its numbers, kept as JSON, so that an interrupted study goes on."""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

# What torch reads when it starts, in this process and in the workers.
os.environ["OMP_NUM_THREADS"] = "1"

from preregistered.stores import remove, samples_of
from qinn.digests import bytes_digest
from qinn.errors import ArgumentError, CheckpointError


@dataclass(frozen=True)
class Fit:
    """What is trained on what.

    Attributes:
        part: Part of the study.
        phase: ``"selection"``, ``"evaluation"``, ``"equal CPU"`` …
        variant: Of the data, where a part has several.
        cell: Name of the model.
        trial: Which of the tried settings; their values stand in `encoder` and `training`.
        seed: Of weights and order, and of data that are drawn.
        fold: Which division of the data.
        source: How the samples are made or found, for `qinn.preregistered.stores.samples_of`.
        model: Configuration of the model.
        encoder: Configuration of the encoder.
        training: Options of the training.
        keep_outputs: Whether the outputs on the test samples are kept too.
    """

    part: str
    phase: str
    variant: str
    cell: str
    trial: str
    seed: int
    fold: int
    source: Mapping[str, Any]
    model: Mapping[str, Any]
    encoder: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    keep_outputs: bool = False

    @property
    def place(self) -> str:
        """Path of its results within the folder of fits."""
        words = [self.phase, self.variant, self.cell, self.trial, f"fold-{self.fold}", f"seed-{self.seed}"]
        slugs = [re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-") for word in words if word]
        return "/".join([self.part, "_".join(slugs)])


def run_fits(fits: Sequence[Fit], work: Path, *, workers: int) -> list[dict[str, Any]]:
    """Run what has not been run and return the results in order.

    Args:
        fits: What to run.
        work: Folder of fits, stores and temporary files.
        workers: Fits at the same time, each in a process with one thread.
    """
    left = [fit for fit in fits if not _file(fit, work).is_file()]
    done, started = len(fits) - len(left), time.monotonic()
    for number, (fit, result) in enumerate(_finished(left, work, workers), 1):
        remaining = (time.monotonic() - started) / number * (len(left) - number)
        print(
            f"{done + number}/{len(fits)} {fit.place}: {result['failed'] or result['valid']} · "
            f"{remaining / 60:.0f} min left",
            flush=True,
        )
    return [json.loads(_file(fit, work).read_text(encoding="utf-8")) for fit in fits]


def _finished(fits: Sequence[Fit], work: Path, workers: int) -> Iterator[tuple[Fit, dict[str, Any]]]:
    if workers <= 1:
        yield from ((fit, run_fit(fit, work)) for fit in fits)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(run_fit, fit, work): fit for fit in fits}
        yield from ((waiting[one], one.result()) for one in as_completed(waiting))


def run_fit(fit: Fit, work: Path) -> dict[str, Any]:
    """Train, measure and keep the numbers.

    Args:
        fit: What to run.
        work: Folder of fits, stores and temporary files.
    """
    import torch

    from qinn.evaluation.metrics import metrics
    from qinn.evaluation.predict import predict
    from qinn.experiment.build import build_model
    from qinn.experiment.config import TrainingConfig, resolved_training
    from qinn.experiment.encoder_config import EncoderConfig
    from qinn.experiment.model_configs import parse_model
    from qinn.explain.activity import activity_of
    from qinn.model.baselines import count_parameters
    from qinn.training.fit import fit as train

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as in a run
    samples = samples_of(fit.source, work)
    development, task = samples.development, samples.development.train.task
    encoder = EncoderConfig.model_validate(dict(fit.encoder))
    options = resolved_training(TrainingConfig.model_validate(dict(fit.training)), 1).options()
    model_config = parse_model(fit.cell, dict(fit.model))
    model = build_model(
        model_config,
        encoder,
        feature_dims=development.train.dims,
        sequences=samples.sequences,
        num_outputs=task.num_outputs,
        seed=fit.seed,
        transformers=samples.transformers(model_config, encoder),
        timed=samples.timed,
        num_words=samples.num_words,
    )
    found: dict[str, Any] = {
        "part": fit.part,
        "phase": fit.phase,
        "variant": fit.variant,
        "cell": fit.cell,
        "trial": fit.trial,
        "seed": fit.seed,
        "fold": fit.fold,
        "epochs": options.max_epochs,
        "parameters": count_parameters(model),
        "failed": None,
        "valid": {},
        "tests": {},
        "dynamics": None,
        "history": [],
    }
    clock = time.process_time()
    try:
        result = train(
            model,
            development,
            task=task,
            options=options,
            folder=work / "training" / fit.place,
            seed=fit.seed,
            identity=json.dumps(asdict(fit), sort_keys=True),
        )
        found["cpu_seconds"] = round(time.process_time() - clock, 2)
        found["history"] = [row.get("valid_loss") for row in result.history]
        found["valid"] = metrics(task, *_known(predict(model, development.valid)))
        for name, subset in samples.tests.items():
            table = predict(model, subset)
            found["tests"][name] = metrics(task, *_known(table))
            if fit.keep_outputs:
                found.setdefault("outputs", {})[name] = np.round(table.outputs, 6).tolist()
        activity = activity_of(model, development.valid)
        found["dynamics"] = None if activity is None else asdict(activity)
    except (ArgumentError, CheckpointError) as error:
        # What cannot be trained, or not be predicted with afterwards, counts as a failed run and is reported as one.
        found |= {"failed": str(error), "cpu_seconds": round(time.process_time() - clock, 2)}
    _keep(found, _file(fit, work))
    remove(work / "training" / fit.place)
    return found


def _known(table: Any) -> tuple[np.ndarray, np.ndarray]:
    return table.labels, table.outputs


def _file(fit: Fit, work: Path) -> Path:
    # A fit of another description under the same name must not stand for this one.
    digest = bytes_digest(json.dumps(asdict(fit), sort_keys=True).encode())[:12]
    return work / "fits" / f"{fit.place}_{digest}.json"


def _keep(found: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)


def chosen_trials(
    results: Iterable[Mapping[str, Any]], monitor: str, *, larger_is_better: bool
) -> dict[tuple[str, str], str]:
    """Return (variant, cell) → the trial with the best mean validation value; of equal ones the first.

    Args:
        results: What `run_fits` returned for the selection, trials in the order of the design.
        monitor: The validation metric.
        larger_is_better: Whether it is an accuracy and not an error.
    """
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for result in results:
        value = result["valid"].get(monitor)
        worst = -np.inf if larger_is_better else np.inf
        by_trial = values.setdefault((result["variant"], result["cell"]), {})
        by_trial.setdefault(result["trial"], []).append(worst if value is None else value)
    sign = 1 if larger_is_better else -1
    return {
        key: max(by_trial, key=lambda trial: sign * float(np.mean(by_trial[trial])))
        for key, by_trial in values.items()
    }

"""Fitting: selection on validation, determinism, schedule, clipping, divergence."""

import csv
import dataclasses
import inspect
import typing

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from qinn.data.stores.store import Store
from qinn.data.subsets.batching import BatchLoader, batch_of
from qinn.data.subsets.cross_validation import Development, fixed_fold
from qinn.errors import ArgumentError
from qinn.evaluation.metrics import metrics
from qinn.evaluation.predict import predict
from qinn.task import Task
from qinn.training.fit import fit, refit
from qinn.training.loop import TrainingLoop
from qinn.training.options import FitOptions

SCORE = Task("regression", -3.0, 3.0, "mosi")
OPTIONS = FitOptions(max_epochs=4, batch_size=12, tensorboard=False)
# Large constant steps: the validation loss goes up and down, so that the best epoch is not the last.
RESTLESS = dataclasses.replace(OPTIONS, max_epochs=8, schedule="constant", learning_rate=0.1, patience=0)


def same_weights(first, second):
    return all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def valid_values(model, development):
    table = predict(model, development.valid)
    return metrics(SCORE, table.labels, table.outputs)


@pytest.mark.parametrize(("monitor", "best"), [("loss", min), ("mae", min), ("corr", max), ("acc7", max)])
def test_the_final_weights_are_those_of_the_best_validation_epoch(
    monitor, best, development, make_model, tmp_path
):
    model = make_model(kind="concatenation")
    options = dataclasses.replace(RESTLESS, monitor=monitor)
    result = fit(model, development, task=SCORE, options=options, folder=tmp_path, seed=0)
    values = [row[f"valid_{monitor}"] for row in result.history]
    assert result.monitor == f"valid_{monitor}"
    assert result.epochs == len(values) == 8
    assert result.best_epoch == values.index(best(values))
    assert result.best_epoch < 7
    assert result.best_value == pytest.approx(best(values))
    reached = valid_values(model, development)["mae" if monitor == "loss" else monitor]
    assert reached == pytest.approx(best(values), abs=1e-6)


def test_early_stopping_ends_after_patience_epochs_without_progress(development, make_model, tmp_path):
    options = dataclasses.replace(RESTLESS, patience=2, max_epochs=30)
    model = make_model(kind="concatenation")
    result = fit(model, development, task=SCORE, options=options, folder=tmp_path, seed=0)
    assert result.epochs == result.best_epoch + 1 + 2
    assert result.epochs < 30


def test_the_history_is_on_disk(development, make_model, tmp_path):
    result = fit(make_model(), development, task=SCORE, options=OPTIONS, folder=tmp_path, seed=0)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert list(rows[0])[:3] == ["epoch", "train_loss", "valid_loss"]
    assert [float(row["valid_mae"]) for row in rows] == [row["valid_mae"] for row in result.history]


def test_the_training_loss_of_an_epoch_weighs_every_sample_alike(development, make_model, tmp_path):
    options = dataclasses.replace(OPTIONS, max_epochs=1, batch_size=17, learning_rate=1e-12)
    model = make_model(kind="unimodal", modality="text")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    result = fit(model, development, task=SCORE, options=options, folder=tmp_path, seed=0)
    table = predict(model, development.train)
    expected = abs(table.outputs[:, 0] - table.labels).mean()
    assert result.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(development, make_model, tmp_path):
    models = []
    for number, seed in enumerate((0, 0, 1)):
        model = make_model()
        options = dataclasses.replace(OPTIONS, max_epochs=2)
        fit(model, development, task=SCORE, options=options, folder=tmp_path / str(number), seed=seed)
        models.append(model)
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_the_learning_rate_warms_up_to_its_peak_and_falls_to_zero(development, make_model):
    loader = BatchLoader(development.train, 12)
    options = dataclasses.replace(OPTIONS, max_epochs=50, learning_rate=0.01)
    loop = TrainingLoop(make_model(kind="late_fusion"), task=SCORE, options=options, train=loader)
    rates, batch = [], next(iter(loader))
    for _ in range(options.max_epochs * len(loader)):
        rates.append(loop.optimizer.param_groups[0]["lr"])
        loop.step(batch)
    assert max(rates) == pytest.approx(0.01, rel=1e-3)
    assert rates.index(max(rates)) == pytest.approx(0.15 * len(rates), abs=1)
    assert rates[0] == pytest.approx(0.01 / 25)
    assert rates[-1] < 1e-4 * 0.01 * 10


def test_a_constant_schedule_keeps_the_learning_rate(development, make_model):
    loader = BatchLoader(development.train, 12)
    options = dataclasses.replace(OPTIONS, schedule="constant", learning_rate=0.01)
    loop = TrainingLoop(make_model(), task=SCORE, options=options, train=loader)
    loop.step(next(iter(loader)))
    assert {group["lr"] for group in loop.optimizer.param_groups} == {0.01}


def _parameters_of(part):
    return [part] if isinstance(part, torch.Tensor) else part.parameters()


def test_weight_decay_is_on_matrices_that_do_not_act_on_states(development, make_model):
    loader = BatchLoader(development.train, 12)
    options = dataclasses.replace(OPTIONS, schedule="constant", weight_decay=0.3)
    model = make_model()
    groups = TrainingLoop(model, task=SCORE, options=options, train=loader).optimizer.param_groups
    on_states = {id(p) for part in (model.fusion, model.readout.free_vectors) for p in _parameters_of(part)}
    assert {
        (p.ndim >= 2 and id(p) not in on_states, group["weight_decay"])
        for group in groups
        for p in group["params"]
    } == {(True, 0.3), (False, 0.0)}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


@pytest.mark.parametrize("clip", [0.01, 0.0])
def test_gradients_are_clipped_to_the_norm_and_zero_means_no_clipping(
    clip, development, make_model, tmp_path
):
    norms = []

    def record(optimizer, *_):
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))

    handle = register_optimizer_step_post_hook(record)
    try:
        options = dataclasses.replace(OPTIONS, max_epochs=1, gradient_clip=clip)
        fit(make_model(), development, task=SCORE, options=options, folder=tmp_path, seed=0)
    finally:
        handle.remove()
    assert len(norms) == 2
    assert all((norm < 0.0101) == bool(clip) for norm in norms)


@pytest.mark.parametrize("monitor", ["loss", "mae"])
@pytest.mark.parametrize("kind", ["concatenation", "qinn"])
def test_a_divergent_training_is_one_clear_error(kind, monitor, development, make_model, tmp_path):
    options = dataclasses.replace(OPTIONS, learning_rate=1e37, monitor=monitor, schedule="constant")
    with pytest.raises(ArgumentError, match=r"Training diverged: .* lower the learning rate \(now 1e\+37\)"):
        fit(make_model(kind=kind), development, task=SCORE, options=options, folder=tmp_path, seed=0)


@pytest.mark.parametrize("monitor", ["mea", "accuracy"])
def test_a_monitor_that_the_task_has_not_is_refused_and_nothing_is_written(
    monitor, development, make_model, tmp_path
):
    options = dataclasses.replace(OPTIONS, monitor=monitor)
    with pytest.raises(ArgumentError, match=rf"`monitor` must be `loss`, `last` or one of .*`{monitor}`"):
        fit(make_model(), development, task=SCORE, options=options, folder=tmp_path / "fit", seed=0)
    assert not (tmp_path / "fit").exists()


def test_classification_is_trained_by_cross_entropy(class_development, make_model, tmp_path):
    task = Task("classification", classes=("negative", "positive"))
    options = dataclasses.replace(OPTIONS, monitor="accuracy", label_smoothing=0.1)
    model = make_model(num_outputs=2, kind="late_fusion")
    result = fit(model, class_development, task=task, options=options, folder=tmp_path, seed=0)
    assert {"valid_accuracy", "valid_f1_macro", "valid_loss"} <= set(result.history[0])


def test_a_model_without_parameters_is_only_given_the_training_statistics(development, make_model, tmp_path):
    model = make_model(kind="constant")
    result = fit(model, development, task=SCORE, options=OPTIONS, folder=tmp_path / "fit", seed=0)
    assert result.epochs == 0
    assert not (tmp_path / "fit").exists()
    outputs = predict(model, development.valid).outputs
    assert outputs == pytest.approx(development.train.labels.mean())


def test_logs_and_progress_are_written_when_asked(development, make_model, tmp_path, capsys):
    options = dataclasses.replace(OPTIONS, max_epochs=1, tensorboard=True)
    model = make_model(kind="late_fusion")
    fit(model, development, task=SCORE, options=options, folder=tmp_path, seed=0, progress=True)
    assert list((tmp_path / "logs" / "tensorboard").glob("events*"))
    assert "Epoch 0" in "".join(capsys.readouterr())


def test_deterministic_algorithms_are_required_inside_the_fit_only(development, make_model, tmp_path):
    seen = []
    model = make_model(kind="late_fusion")
    model.register_forward_hook(lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()))
    fit(model, development, task=SCORE, options=OPTIONS, folder=tmp_path, seed=0)
    assert all(seen)
    assert not torch.are_deterministic_algorithms_enabled()


def test_fit_has_no_parameter_that_could_hold_the_test_split():
    parameters = inspect.signature(fit).parameters
    hints = typing.get_type_hints(fit)
    holders = {name for name in parameters if "qinn.data" in getattr(hints.get(name), "__module__", "")}
    assert holders == {"development"}
    assert hints["development"] is Development
    assert {field.name for field in dataclasses.fields(Development)} == {"train", "valid"}
    assert not any(parameter.kind.name.startswith("VAR") for parameter in parameters.values())


def test_development_samples_lead_to_no_test_sample(tiny_store):
    fold = fixed_fold(Store.open(tiny_store))
    for subset in (fold.development.train, fold.development.valid):
        assert not set(subset.ids) & set(fold.test.ids)
        for position in (-1, len(subset)):
            with pytest.raises(ArgumentError, match="must lie between 0 and"):
                batch_of(subset, [position])
            with pytest.raises(ArgumentError, match="must lie between 0 and"):
                subset.take([position])


def test_monitoring_nothing_keeps_the_last_weights(development, make_model, tmp_path):
    model, other = make_model(kind="concatenation"), make_model(kind="concatenation")
    options = dataclasses.replace(RESTLESS, monitor="last")
    result = fit(model, development, task=SCORE, options=options, folder=tmp_path / "a", seed=0)
    best = fit(other, development, task=SCORE, options=RESTLESS, folder=tmp_path / "b", seed=0)
    assert (result.best_epoch, result.best_value) == (7, result.history[-1]["valid_loss"])
    assert result.history == best.history
    assert best.best_epoch < 7
    assert valid_values(model, development)["mae"] == pytest.approx(result.best_value, abs=1e-6)


def test_nothing_can_stop_early_when_the_last_weights_are_kept(development, make_model, tmp_path):
    options = dataclasses.replace(OPTIONS, monitor="last", patience=3)
    with pytest.raises(ArgumentError, match="`patience` must be 0"):
        fit(make_model(), development, task=SCORE, options=options, folder=tmp_path, seed=0)


def test_a_refit_learns_from_training_and_validation_samples(development, make_model, tmp_path):
    seen = set()
    model = make_model(kind="concatenation")
    model.register_forward_pre_hook(
        lambda module, inputs: seen.update(inputs[0].ids) if module.training else None
    )
    arguments = {"task": SCORE, "options": OPTIONS, "seed": 0}
    refit(model, development, epochs=2, folder=tmp_path, **arguments)
    assert seen == {*development.train.ids, *development.valid.ids}
    merged = development.merged.statistics()
    for name, encoder in model.encoders.items():
        torch.testing.assert_close(encoder.standardizer.mean, torch.as_tensor(merged[name].mean).float())
    fresh = make_model(kind="concatenation")
    refit(fresh, development, epochs=4, folder=tmp_path / "other", **arguments)
    assert not same_weights(model, fresh)


def test_a_cut_refit_ends_with_the_same_weights(development, make_model, tmp_path):
    class PowerCutError(Exception):
        pass

    def cut(module, _):
        steps.append(1)
        if len(steps) == 5:
            raise PowerCutError

    arguments = {"task": SCORE, "options": OPTIONS, "epochs": 3, "seed": 0}
    whole, cut_off, resumed, steps = make_model(), make_model(), make_model(), []
    refit(whole, development, folder=tmp_path / "a", **arguments)
    cut_off.register_forward_pre_hook(cut)
    with pytest.raises(PowerCutError):
        refit(cut_off, development, folder=tmp_path / "b", **arguments)
    refit(resumed, development, folder=tmp_path / "b", **arguments)
    assert same_weights(whole, resumed)


def test_a_refit_of_a_model_without_parameters_takes_the_statistics(development, make_model, tmp_path):
    model = make_model(kind="constant")
    refit(model, development, task=SCORE, options=OPTIONS, epochs=0, folder=tmp_path, seed=0)
    assert float(model.output_scale.offset[0]) == pytest.approx(
        float(development.merged.labels.mean()), abs=1e-6
    )

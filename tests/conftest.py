"""Shared set-up: shape annotations are checked by beartype, denormals are flushed, real data is found once."""

import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import qinn

# Users' mistakes of type are answered in words by `face`, which a check before it would answer first.
hook = install_import_hook(
    [f"qinn.{module.name}" for module in pkgutil.iter_modules(qinn.__path__) if module.name != "face"],
    "beartype.beartype",
)

import torch  # noqa: E402

torch.set_flush_denormal(True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device of tests/quantum/test_devices.py, such as cuda")


def pytest_configure(config: pytest.Config) -> None:
    device = config.getoption("--device")
    try:
        torch.zeros(1, device=device).cpu()
    # What torch raises for a name it does not know, a backend it was built without, and a device without data.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise pytest.UsageError(
            f"Option `--device` must name a device that torch can use on this machine, but it is `{device}`: {reason}."
        ) from None


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own: nothing is written into the user's, and nothing there matters."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        # Fonts are not looked for again in every session, and models are found where they lie.
        usual = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        for name, place in (("MPLCONFIGDIR", "matplotlib"), ("HF_HOME", "huggingface")):
            patch.setenv(name, os.environ.get(name, str(usual / place)))
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device named by `--device`; the CPU by default."""
    return torch.device(request.config.getoption("--device"))


def real_data_folder() -> Path | None:
    """Folder with the real data sets, from $QINN_REAL_DATA or beside the checkout; None if there is none."""
    named = os.environ.get("QINN_REAL_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real data folder; skips the test, saying so, where there is none."""
    folder = real_data_folder()
    if folder is None:
        pytest.skip("real data not found: set QINN_REAL_DATA or put shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic store of 44 samples with absent modalities, groups and folds; do not change it."""
    from .tiny import write_tiny_store

    return write_tiny_store(tmp_path_factory.mktemp("tiny") / "store").path


@pytest.fixture(scope="session")
def class_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for classification; do not change it."""
    from .tiny import write_tiny_store

    return write_tiny_store(tmp_path_factory.mktemp("tiny") / "classes", kind="classification").path


@pytest.fixture(scope="session")
def tiny_run(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of QiNN-QJ on `tiny_store`; do not change it."""
    from qinn.experiment.run import run

    from .tiny import tiny_config

    return run(tiny_config(tiny_store), tmp_path_factory.mktemp("tiny") / "run").path


@pytest.fixture(scope="session")
def class_run(class_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of QiNN-QJ on `class_store`; do not change it."""
    from qinn.experiment.run import run

    from .tiny import tiny_config

    return run(tiny_config(class_store), tmp_path_factory.mktemp("tiny") / "class-run").path

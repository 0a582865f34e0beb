"""Shared set-up: shape annotations are checked by beartype, denormals are flushed, real data is found once."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

hook = install_import_hook("qinn", "beartype.beartype")

import torch  # noqa: E402

torch.set_flush_denormal(True)


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

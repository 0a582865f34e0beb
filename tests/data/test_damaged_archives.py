"""Bits of a zip archive that say what its reader cannot: the file is damaged, whoever reads it."""

import zipfile

import numpy as np
import pytest

from qinn.data.files.arrays import open_arrays
from qinn.data.files.contents import contents_of
from qinn.errors import CheckpointError, DataError
from qinn.experiment.swept_outputs import KeptOutputs, SweptOutputs
from qinn.features.clip_features import ClipFeatures
from qinn.results.folder import RunFolder
from qinn.training.checkpoints import read_checkpoint, write_checkpoint

BITS = {
    "encrypted": (8, 0x01),
    "strongly encrypted": (8, 0x40),
    "later method": (10, 99),
    "later format": (6, 0xFF),
}
"""Where in the entry of a file in the archive's directory, and what."""


def damaged(path, bits):
    """Change a byte of the first entry of the directory."""
    content = bytearray(path.read_bytes())
    offset, value = BITS[bits]
    content[content.index(b"PK\x01\x02") + offset] = value
    path.write_bytes(content)


@pytest.fixture(params=BITS)
def bits(request):
    return request.param


def test_a_clips_features_are_damaged(bits, tmp_path):
    np.savez(tmp_path / "a.npz", record=np.array("{}"))
    damaged(tmp_path / "a.npz", bits)
    with pytest.raises(DataError, match="does not hold the features of a clip"):
        ClipFeatures.load(tmp_path / "a.npz")


def test_arrays_and_checkpoints_are_damaged(bits, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    damaged(tmp_path / "a.npz", bits)
    with pytest.raises(DataError), open_arrays(tmp_path / "a.npz") as arrays:
        arrays.array("x")
    write_checkpoint(tmp_path / "a.ckpt", {}, "mine")
    damaged(tmp_path / "a.ckpt", bits)
    with pytest.raises(CheckpointError, match="Cannot resume"):
        read_checkpoint(tmp_path / "a.ckpt", "mine")


def test_an_archive_of_a_later_format_is_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    damaged(tmp_path / "a.zip", "later format")
    with pytest.raises(DataError, match="is damaged"):
        contents_of(tmp_path / "a.zip")


def test_outputs_that_are_damaged_are_made_anew(bits, tiny_run, tmp_path):
    run, kept = RunFolder(tiny_run), KeptOutputs(tmp_path, "asked")
    made = SweptOutputs(np.zeros((1, 1, 2, 1)), np.zeros((0, 1, 2, 1)), np.zeros((2, 1)), ())
    assert kept.of(run, run.digest(), lambda: made) is made
    assert kept.of(run, run.digest(), lambda: made) is not made
    [place] = (tmp_path / ".outputs.partial").iterdir()
    damaged(place, bits)
    assert kept.of(run, run.digest(), lambda: made) is made

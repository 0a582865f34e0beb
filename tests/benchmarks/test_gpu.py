"""The GPU script fills every figure on the CPU; what is wrong, fails or comes too late is said and loses no row."""

import json
import subprocess
import sys
from pathlib import Path

import gpu
import pytest
import torch

ROOT = Path(__file__).parents[2]


def rehearsed(output: Path, monkeypatch, *options: str) -> dict:
    """Run the script's dry run and return what it wrote."""
    arguments = ["gpu.py", "--device", "cpu", "--dry-run", "--output", str(output), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    gpu.main()
    return json.loads(output.read_text())


@pytest.mark.slow
def test_the_dry_run_fills_every_figure(tmp_path, monkeypatch):
    content = rehearsed(tmp_path / "gpu.json", monkeypatch)
    assert (content["device"], content["dry_run"]) == ("cpu", True)
    assert content["versions"]["torch"] == torch.__version__
    names = [row["name"] for row in content["correctness"]]
    assert names == list(gpu.checks())
    for row in content["correctness"]:
        assert row["right"] is True
        assert ("z" in row) or max(row["error"], row["error_of_gradient"]) <= row["tolerance"]
    rate, *timings = content["time"]
    assert rate["tflops"] > 0
    assert {row["kind"] for row in timings} == {timing.kind for timing in gpu.TIMINGS}
    *timings, other = timings
    for row in timings:
        assert min(row[place]["median_ms"] for place in ("device", "cpu")) > 0
    # Another package is timed where it is installed.
    assert "skipped" in other or other["device"]["median_ms"] > 0


def test_a_row_that_fails_or_is_wrong_loses_no_other(tmp_path, monkeypatch):
    def broken(_):
        raise RuntimeError("no such kernel\nand more")

    def numbers(where):
        return [where.free(2, seed=0).detach()] * 2

    # The device is the CPU here, so that only its precision can differ.
    monkeypatch.setitem(gpu.TOLERANCES, gpu.SINGLE, 0.0)
    checks = {
        "broken": broken,
        "wrong": gpu._comparison(numbers, gpu.SINGLE),
        "right": gpu._comparison(numbers, gpu.DOUBLE),
    }
    monkeypatch.setattr(gpu, "checks", lambda: checks)
    monkeypatch.setattr(gpu, "SMALL_TIMINGS", [gpu.Timing("collisions", {"D": 2})])
    with pytest.raises(SystemExit, match="3 rows are wrong or failed: broken; wrong; collisions: D 2"):
        rehearsed(tmp_path / "gpu.json", monkeypatch)
    content = json.loads((tmp_path / "gpu.json").read_text())
    broken_row, wrong, right = content["correctness"]
    assert broken_row["failed"] == "RuntimeError: no such kernel"
    assert (wrong["right"], right["right"]) == (False, True)
    assert content["time"][0]["tflops"] > 0
    assert "TypeError" in content["time"][1]["failed"]


def test_what_comes_too_late_is_skipped_by_name(tmp_path, monkeypatch):
    content = rehearsed(tmp_path / "gpu.json", monkeypatch, "--seconds", "0")
    rows = [*content["correctness"], *content["time"]]
    assert {row["skipped"] for row in rows} == {"0 s were over"}


@pytest.mark.slow
def test_the_script_needs_nothing_set_up_and_refuses_a_missing_device_in_a_sentence(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    ran = subprocess.run(
        ["sh", str(ROOT / "benchmarks" / "gpu.sh")],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "OUT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 1
    assert "`--device` must name a device that torch can use here, but it is `cuda`" in ran.stderr
    assert "Traceback" not in ran.stderr

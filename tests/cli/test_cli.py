"""The command line: help, JSON, one-line errors."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qinn import __version__, cli
from qinn.cli.renamed import with_names_of_now
from qinn.digests import OWN_DIGEST

from ..new_samples import official_mfn, samples
from ..tiny import tiny_config, tiny_content

COMMANDS = [
    [],
    ["data"],
    ["data", "import"],
    ["data", "inspect"],
    ["data", "verify"],
    ["data", "describe"],
    ["data", "convert"],
    ["data", "split"],
    ["data", "synthesize"],
    ["demo", "clips"],
    *([name] for name in ("demo", "train", "tune", "evaluate", "predict", "score", "calibrate", "publish")),
    *([name] for name in ("explain", "compare", "sweep-absent", "report", "info")),
]


@pytest.fixture
def qinn(monkeypatch, capsys):
    """Run the command as a user would; return exit code, output and error stream."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        code = end.value.code
        captured = capsys.readouterr()
        return (0 if code is None else code), captured.out, captured.err

    return call


@pytest.fixture
def config_file(tiny_store, tmp_path):
    path = tmp_path / "config.yaml"
    models = {"one": {"kind": "concatenation"}, "constant": {"kind": "constant"}}
    content = tiny_content(tiny_store, models=models)
    content["training"] = {**content["training"], "max_epochs": 1}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_a_comparison_notes_each_run_where_there_is_no_terminal(config_file, tmp_path, qinn):
    code, _, said = qinn("compare", config_file, "--to", tmp_path / "c")
    assert code == 0
    lines = [line for line in said.splitlines() if line.startswith("runs: ")]
    assert len(lines) == 2
    assert re.fullmatch(r"runs: 1 of 2 done in \d+ s; the last was one, seed 0; 1 left, some \d+ s", lines[0])
    assert re.fullmatch(r"runs: 2 of 2 done in \d+ s; the last was constant, seed 0", lines[1])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command, qinn):
    code, out, err = qinn(*command, "--help")
    assert code == 0
    assert "Usage" in out
    assert not err


@pytest.mark.parametrize("command", [[], ["data"]], ids=" ".join)
def test_a_command_without_its_subcommand_shows_help(command, qinn):
    code, out, err = qinn(*command)
    assert code in (0, 2)
    assert "Usage" in out + err


@pytest.mark.parametrize("options", [["--scale", "mosi", "--to", "s"], ["--to=s", "--scale=mosi"]])
def test_a_source_that_is_called_as_a_layout_is_imported(options, qinn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    official_mfn(tmp_path, samples())
    (tmp_path / "mmsa").mkdir()
    code, _, err = qinn("data", "import", "mfn", *options)
    assert (code, err.splitlines()[0]) == (0, "`mfn` has the layout `mfn`")
    # Where a source is named, or help is asked for, it is the layout.
    code, _, err = qinn("data", "import", "mmsa", *options, "mfn", "--overwrite")
    assert code == 2
    assert "`mfn`" in err
    assert "has the layout" not in err
    code, out, err = qinn("data", "import", "mfn", "--help")
    assert (code, err) == (0, "")
    assert "--label-index" in out


def test_the_version_is_printed(qinn):
    assert qinn("--version") == (0, f"qinn {__version__}\n", "")


def test_help_answers_without_the_heavy_libraries():
    code = (
        "import sys\nsys.argv = ['qinn', '--help']\nfrom qinn.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'pyarrow', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    source = str(Path(cli.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
        check=True,
    )
    assert "QiNN-QJ" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_training_prints_json(qinn, config_file, tmp_path):
    code, out, err = qinn("train", config_file, "--to", tmp_path / "run", "--json")
    content = json.loads(out)
    assert code == 0
    assert content["summary"]["label"] == "one"
    assert content["metrics"]["test"]["mae"]["value"] > 0
    assert Path(content["run"], "run.json").is_file()
    assert "Traceback" not in err


def test_training_prints_a_table_and_where_the_run_is(qinn, config_file, tmp_path):
    code, out, _ = qinn("train", config_file, "--to", tmp_path / "run", "--model", "constant", "--seed", "4")
    assert code == 0
    assert "constant, seed 4, 0 parameters: test" in out
    assert "mean absolute error" in out
    assert f"run: {tmp_path / 'run'}" in out


def test_runs_have_a_default_folder(qinn, config_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, _ = qinn("train", config_file, "--model", "constant", "--json")
    assert code == 0
    assert (tmp_path / "runs" / "tiny" / "constant" / "seed-0" / "run.json").is_file()


def test_comparing_prints_json_or_a_table(qinn, config_file, tmp_path):
    code, out, _ = qinn("compare", config_file, "--to", tmp_path / "both", "--json")
    content = json.loads(out)
    assert code == 0
    assert content["format"] == "qinn-comparison"
    kept = json.loads((tmp_path / "both" / "comparison.json").read_text())
    assert content == {key: value for key, value in kept.items() if key != OWN_DIGEST}
    code, out, _ = qinn("compare", config_file, "--to", tmp_path / "both")
    assert code == 0
    assert "constant" in out
    assert f"comparison: {tmp_path / 'both'}" in out
    code, out, _ = qinn("info", tmp_path / "both", "--json")
    assert json.loads(out)["kind"] == "comparison"


def test_evaluating_prints_json_or_a_table(qinn, tiny_run):
    code, out, _ = qinn("evaluate", tiny_run, "--json")
    assert code == 0
    assert json.loads(out)["largest_difference"] <= 1e-5
    code, out, err = qinn("evaluate", tiny_run, "--split", "valid")
    assert code == 0
    assert "valid samples" in " ".join(out.split())
    code, _, err = qinn("evaluate", tiny_run)
    assert "largest difference from the stored predictions" in err


def test_predictions_are_printed_as_json_or_text_or_written(qinn, tiny_run, tiny_store, tmp_path):
    code, out, _ = qinn("predict", tiny_run, tiny_store, "--split", "test", "--json")
    rows = json.loads(out)
    assert code == 0
    assert len(rows) == 10
    code, out, _ = qinn("predict", tiny_run, tiny_store, "--split", "test", "--batch-size", "1")
    lines = out.splitlines()
    assert lines[0] == "id\tscore\tlow\thigh\tp_positive\ttrajectory_std\tabsent"
    assert lines[1].split("\t")[0] == rows[0]["id"]
    assert float(lines[1].split("\t")[1]) == pytest.approx(rows[0]["score"], abs=1e-5)
    code, out, err = qinn("predict", tiny_run, tiny_store, "--to", tmp_path / "out.csv")
    assert (code, out) == (0, "")
    assert "wrote 10 predictions" in err
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 11


def test_explaining_writes_data_and_figures(qinn, tiny_run, tmp_path):
    code, out, _ = qinn("explain", tiny_run, "--to", tmp_path / "explained", "--json")
    assert code == 0
    assert json.loads(out)["unit"] == "bits"
    assert (tmp_path / "explained" / "explanation.parquet").is_file()
    code, out, err = qinn("explain", tiny_run, "--to", tmp_path / "explained")
    assert code == 0
    assert "Means over 10 samples" in out
    assert "figures" in err


def test_reports_are_one_page(qinn, tiny_run, tmp_path):
    code, _, err = qinn("report", tiny_run, "--to", tmp_path / "page.html")
    assert code == 0
    assert "wrote" in err
    page = (tmp_path / "page.html").read_text()
    assert "<html" in page.lower()
    code, _, _ = qinn("report", tiny_run, "--to", tmp_path / "texts.html", "--include-text")
    assert code == 0
    closings = (
        "stay away",
        "I would not go again",
        "make of it what you will",
        "worth a look",
        "go and see it",
    )
    assert any(closing in (tmp_path / "texts.html").read_text() for closing in closings)
    assert not any(closing in page for closing in closings)


def test_information_is_printed_as_json_or_a_table(qinn, tiny_run, tiny_store):
    code, out, _ = qinn("info", "--json")
    assert code == 0
    assert json.loads(out)["qinn"] == __version__
    code, out, _ = qinn("info", tiny_run, "--json")
    assert json.loads(out)["kind"] == "run"
    code, out, _ = qinn("info", tiny_store)
    assert code == 0
    assert "store" in out


def test_stores_are_made_and_inspected(qinn, tmp_path):
    sizes = ("--num-train", "20", "--num-valid", "5", "--num-test", "5")
    code, out, _ = qinn("data", "synthesize", "--to", tmp_path / "store", *sizes, "--json")
    assert code == 0
    assert json.loads(out)["bayes"] == pytest.approx(0.35)
    code, out, _ = qinn("data", "inspect", tmp_path / "store", "--verify", "--json")
    assert code == 0
    assert isinstance(json.loads(out), dict)
    code, out, _ = qinn("data", "inspect", tmp_path / "store")
    assert code == 0
    assert out.strip()
    code, out, err = qinn("data", "synthesize", "--to", tmp_path / "classes", *sizes, "--classification")
    assert code == 0
    assert "accuracy" in out
    assert "wrote" in err


def test_streams_are_made_with_the_prototypes_of_others(qinn, tmp_path):
    sizes = ("--task", "shifters", "--num-train", "0", "--num-valid", "0", "--num-test", "5")
    code, out, _ = qinn("data", "synthesize", "--to", tmp_path / "short", *sizes, "--json")
    assert code == 0
    assert json.loads(out)["bayes"] == 1.0
    code, out, err = qinn(
        *("data", "synthesize", "--to", tmp_path / "long", *sizes, "--seed", "5", "--prototype-seed", "0"),
        *("--min-length", "50", "--max-length", "50", "--single-set"),
    )
    assert code == 0
    assert "without order: 1\n" in out
    assert "None" not in out
    assert "wrote" in err
    code, out, _ = qinn("info", tmp_path / "long", "--json")
    assert "shifters-prototypes-0" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "shifters", "--absent-rate", "0.1"], "`--absent-rate` belongs to `--task product`"),
        (["--single-set"], "`--single-set` belongs to `--task shifters`"),
        (["--task", "shifters", "--expiry", "2"], "`expiry` must be left out"),
        (["--task", "shifters", "--min-length", "40"], "`max_length` must be from `min_length`, 40"),
        (["--num-train", "0"], "`num_train` must be at least 1"),
    ],
    ids=str,
)
def test_options_of_another_task_are_refused(qinn, tmp_path, arguments, message):
    code, _, err = qinn("data", "synthesize", "--to", tmp_path / "store", *arguments)
    assert code == 2
    assert message in err
    assert not (tmp_path / "store").exists()


def test_the_demo_prints_its_table_and_the_path_of_the_report(qinn, tmp_path, monkeypatch):
    from qinn.data.synthetic.known_answer_set import SyntheticSpec
    from qinn.data.synthetic.shifters import ShiftersSpec
    from qinn.experiment import demo, stream_demo

    monkeypatch.setattr(demo, "_SPEC", SyntheticSpec(num_train=20, num_valid=10, num_test=10))
    short = ShiftersSpec(num_train=24, num_valid=8, num_test=10, max_length=4)
    monkeypatch.setattr(stream_demo, "_SPEC", short)
    monkeypatch.setattr(stream_demo, "_LENGTHS", (4, 9))
    monkeypatch.setattr(stream_demo, "_NUM_LONG", 12)
    cells = stream_demo.stream_config(tmp_path / "demo" / "streams" / "store")
    quick = cells.training.model_copy(update={"max_epochs": 1})
    one = {"LSTM": cells.models["LSTM"]}
    monkeypatch.setattr(
        stream_demo,
        "stream_config",
        lambda store: cells.model_copy(update={"models": one, "training": quick}),
    )
    whole = demo.demo_config(tmp_path / "demo" / "store")
    few = {"QiNN-QJ": whole.models["text only"], "late fusion": whole.models["constant"]}
    training = whole.training.model_copy(update={"max_epochs": 1})
    monkeypatch.setattr(
        demo, "demo_config", lambda store: whole.model_copy(update={"models": few, "training": training})
    )
    code, out, err = qinn("demo", "--to", tmp_path / "demo", "--workers", "1")
    assert code == 0, err
    assert "best possible (Bayes)" in out
    assert "above the best possible; late fusion" in " ".join(out.split())
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in out
    assert f"figure: {tmp_path / 'demo' / 'streams.svg'}" in out
    assert "best without order" in out
    assert (tmp_path / "demo" / "streams.svg").read_text().endswith("<!-- made by qinn demo -->\n")
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "Comparison: demo" in page
    assert page.index("Comparison: streams") < page.index("On longer streams") < page.index("Run: ")
    code, out, _ = qinn("demo", "--to", tmp_path / "demo", "--workers", "1", "--json")
    assert json.loads(out)["report"] == str(tmp_path / "demo" / "report.html")
    assert set(json.loads(out)["streams"]["accuracy"]) == {"LSTM"}


def test_an_interruption_says_how_to_go_on(qinn, config_file, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("qinn.training.fit.fit", interrupted)
    code, out, err = qinn("train", config_file, "--to", tmp_path / "run")
    assert (code, out) == (130, "")
    assert err == "error: interrupted; repeat the command to continue where it stopped.\n"


def test_an_operating_system_error_is_one_line(qinn, monkeypatch, tmp_path):
    def full(_):
        raise OSError(28, "No space left on device", "disk")

    monkeypatch.setattr("qinn.describe", full)
    assert qinn("info", tmp_path) == (
        2,
        "",
        "error: disk: No space left on device; free space and repeat the command.\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["no-such-command"],
        ["info", "--no-such-option"],
        ["predict", "run", "store", "--batch-size", "0"],
        ["predict", "run", "store", "--batch-size", "many"],
        ["compare", "config.yaml", "--workers", "0"],
        ["data", "synthesize", "--to", "x", "--absent-rate", "1.5"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_explained_without_a_traceback(arguments, qinn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = qinn(*arguments)
    assert code == 2
    assert not out
    assert "Traceback" not in err
    assert "Error" in err
    assert not list(tmp_path.iterdir())


def test_modalities_can_be_missing_from_the_command_line(tiny_run, qinn):
    code, out, err = qinn("evaluate", tiny_run, "--absent", "audio", "--absent-rate", "0.3", "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert result["missing"]["absent"]["audio"] == 1.0
    assert set(result["complete"]) == set(result["metrics"])
    code, out, err = qinn("evaluate", tiny_run, "--absent", "audio")
    assert code == 0
    assert "as they are" in " ".join(out.split())
    assert "audio 100%" in " ".join(out.split())
    code, out, err = qinn("evaluate", tiny_run, "--absent", "voice")
    assert (code, out) == (2, "")
    assert "not `voice`" in err


def test_predictions_name_what_was_absent(tiny_run, tiny_store, qinn):
    code, out, err = qinn("predict", tiny_run, tiny_store, "--split", "test", "--absent", "vision")
    assert code == 0
    assert "There are no intervals" in err
    lines = [line.split("\t") for line in out.splitlines()]
    assert lines[0][-1] == "absent"
    assert all("vision" in line[-1] for line in lines[1:])


def test_an_explanation_says_how_many_samples_lack_a_modality(tiny_run, tmp_path, qinn):
    code, _, err = qinn("explain", tiny_run, "--absent", "audio", "--to", tmp_path / "explained")
    assert code == 0
    assert "10 of 10 samples lack `audio`; their states are mixed" in " ".join(err.split())
    assert not (tmp_path / "explained" / "entropy.svg").exists()
    assert (tmp_path / "explained" / "negativity.svg").is_file()


def test_what_a_stream_lacks_is_not_said_to_be_left_out_of_entropies(tiny_store, tmp_path, qinn):
    from qinn.experiment.run import run

    cell = {"kind": "qinn", "dynamics": "collisions", "evolution": "exact", "memory_dim": 2, "head": "linear"}
    run(tiny_config(tiny_store, models={"cell": cell}), tmp_path / "run")
    code, _, err = qinn("explain", tmp_path / "run", "--absent", "audio")
    assert code == 0
    assert "10 of 10 samples lack `audio`" in err
    assert "entropies" not in err


def test_a_sweep_over_missing_rates_writes_data_table_and_figures(tiny_run, tmp_path, qinn):
    arguments = ["sweep-absent", tiny_run, "--rates", "0,0.5", "--masks", "2", "--to", tmp_path / "sweep"]
    code, out, err = qinn(*arguments)
    assert code == 0
    assert "| model | 0 | 0.5 |" in out
    assert "sweep.json" in err
    names = sorted(path.name for path in (tmp_path / "sweep").iterdir())
    assert names == ["corr.svg", "mae.svg", "sweep.json", "table.md"]
    code, out, _ = qinn(*arguments, "--json")
    assert json.loads(out)["rates"] == [0.0, 0.5]
    code, out, err = qinn("sweep-absent", tiny_run, tiny_run)
    assert (code, out) == (2, "")
    assert "name a folder for the result with `--to`" in err


def test_verify_tells_right_from_wrong_by_its_exit_code(tiny_store, tmp_path, qinn):
    copy = Path(shutil.copytree(tiny_store, tmp_path / "copy"))
    code, out, _ = qinn("data", "verify", copy)
    assert code == 0
    assert out.endswith("nothing is wrong\n")
    code, out, _ = qinn("data", "verify", copy, "--json", "--sources", tmp_path)
    assert (code, json.loads(out)["is_right"]) == (0, True)
    with (copy / "text.values.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"\x01\x02")
    code, out, _ = qinn("data", "verify", copy)
    assert code == 1
    assert "wrong  content: hash" in out
    code, _, err = qinn("data", "inspect", "--verify", copy)
    assert code == 2
    assert "has changed since it was written" in err
    code, _, err = qinn("data", "verify", tmp_path / "nowhere")
    assert code == 2
    assert err.count("\n") == 1


def test_describe_writes_one_page(tiny_store, tmp_path, qinn):
    code, _, err = qinn("data", "describe", tiny_store, "--html", tmp_path / "page.html")
    assert code == 0
    assert "wrote" in err
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    code, _, err = qinn("data", "describe", tiny_store, "--html", tmp_path / "page.html" / "inside.html")
    assert code == 2
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["data", "inspect"],
        ["data", "inspect", "--json"],
        ["data", "describe", "--html", "page.html"],
        ["info"],
    ],
)
def test_a_store_that_was_edited_in_place_is_described_by_no_command(
    command, tiny_store, tmp_path, qinn, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_store, tmp_path / "store")
    values = tmp_path / "store" / "text.values.npy"
    before = values.stat()
    with values.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    os.utime(values, ns=(before.st_atime_ns, before.st_mtime_ns))
    code, out, err = qinn(*command, "store")
    assert code == 2
    assert out == ""
    assert "text.values.npy` has changed since it was written" in err
    assert not (tmp_path / "page.html").exists()


def test_errors_name_options_as_they_are_typed(tmp_path, qinn):
    (tmp_path / "t.csv").write_text("id,label\na,1\n")
    arguments = [tmp_path / "t.csv", "--to", tmp_path / "s", "--scale", "mosi", "--feature", "a=f.npz:a"]
    code, _, err = qinn("data", "import", "table", *arguments, "--absent-features", "never")
    assert code == 2
    assert "Option `--absent-features` must be refuse or allow" in err
    code, _, err = qinn(
        "data", "import", "table", *arguments, "--group-column", "a", "--group-pattern", "(a)"
    )
    assert "Options `--group-column` and `--group-pattern` exclude each other" in err


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (["evaluate", "RUN", "--missing", "audio"], ["evaluate", "RUN", "--absent", "audio"]),
        (["evaluate", "RUN", "--missing-rate=0.3"], ["evaluate", "RUN", "--absent-rate=0.3"]),
        (
            ["data", "import", "t.csv", "--missing", "absent"],
            ["data", "import", "t.csv", "--absent-features", "allow"],
        ),
        (
            ["data", "import", "t.csv", "--missing=refuse"],
            ["data", "import", "t.csv", "--absent-features=refuse"],
        ),
        (["sweep-missing", "runs/sweep-missing"], ["sweep-absent", "runs/sweep-missing"]),
        (["data", "inspect", "absent"], ["data", "inspect", "absent"]),
    ],
)
def test_names_of_before_mean_what_they_are_called_now(before, now):
    found, notes = with_names_of_now(before)
    assert found == now
    assert bool(notes) == (before != now)


def test_an_option_of_before_works_with_a_note(tiny_run, qinn):
    code, out, err = qinn("evaluate", tiny_run, "--missing", "audio", "--json")
    assert code == 0
    assert json.loads(out)["missing"]["absent"]["audio"] == 1.0
    assert "`--missing` is called `--absent` now" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "ray"], "takes one store, and writes a .parquet file"),
        (["--engine", "ray", "--to", "scores.csv"], "written to .parquet alone"),
        (["--address", "127.0.0.1:1"], "`--address` goes with `--engine ray`"),
        (["--to", "scores.csv", "--json"], "two places for the predictions"),
    ],
)
def test_a_prediction_that_cannot_be_is_refused(
    arguments, words, qinn, tiny_run, tiny_store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, _, err = qinn("predict", tiny_run, tiny_store, *arguments)
    assert code == 2
    assert words in err
    assert list(tmp_path.iterdir()) == []

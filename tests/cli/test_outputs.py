"""Output never destroys: whatever a command writes, and however its place is spelled."""

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from qinn import cli
from qinn.cli.application import app
from qinn.experiment.comparison import compare

from ..tiny import QINN, TRAINING, tiny_config, tiny_content

CONSTANT = {"kind": "constant"}


@dataclass(frozen=True)
class Place:
    """A folder with a store, a run and a comparison of its own."""

    folder: Path
    store: Path
    run: Path
    comparison: Path
    table: Path

    def config(self, **changes: Any) -> Path:
        path = self.folder / f"{abs(hash(repr(changes)))}.yaml"
        path.write_text(yaml.safe_dump(tiny_content(self.store, **{"models": {"a": CONSTANT}, **changes})))
        return path


@pytest.fixture(scope="module")
def compared(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared") / "comparison"
    compare(tiny_config(tiny_store, models={"a": CONSTANT, "b": CONSTANT}), folder)
    return folder


@pytest.fixture
def place(tiny_store: Path, tiny_run: Path, compared: Path, tmp_path: Path) -> Place:
    shutil.copytree(tiny_store, tmp_path / "store")
    shutil.copytree(tiny_run, tmp_path / "run")
    shutil.copytree(compared, tmp_path / "comparison")
    (tmp_path / "t.csv").write_text("id,split,label,x\na,train,1,1\nb,valid,2,1\nc,test,3,1\n")
    return Place(tmp_path, tmp_path / "store", tmp_path / "run", tmp_path / "comparison", tmp_path / "t.csv")


@pytest.fixture
def qinn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    def call(*arguments: Any) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    return call


Arguments = Callable[[Place, Path], list[Any]]

FILES: dict[str, tuple[str, Arguments]] = {
    "predict csv": (".csv", lambda p, to: ["predict", p.run, p.store, "--to", to]),
    "predict parquet": (".parquet", lambda p, to: ["predict", p.run, p.store, "--to", to]),
    "report": (".html", lambda p, to: ["report", p.run, "--to", to]),
    "data describe": (".html", lambda p, to: ["data", "describe", p.store, "--html", to]),
    "data convert npz": (".npz", lambda p, to: ["data", "convert", p.store, "--to", to]),
    "data convert parquet": (".parquet", lambda p, to: ["data", "convert", p.store, "--to", to]),
    "data convert mmsa": (".pkl", lambda p, to: ["data", "convert", p.store, "--to", to]),
}
SEVERAL: dict[str, tuple[str, Arguments]] = {
    "explain": ("explanation.json", lambda p, to: ["explain", p.run, "--to", to]),
    "explain table": ("explanation.parquet", lambda p, to: ["explain", p.run, "--to", to]),
    "explain figure": ("entropy.svg", lambda p, to: ["explain", p.run, "--to", to]),
    "sweep-absent": ("sweep.json", lambda p, to: sweep(p, to)),
    "sweep-absent table": ("table.md", lambda p, to: sweep(p, to)),
    "sweep-absent figure": ("mae.svg", lambda p, to: sweep(p, to)),
}
STORES: dict[str, Arguments] = {
    "data import": lambda p, to: ["data", "import", "table", p.folder / "new.csv", "--to", to, *features(p)],
    "data synthesize": lambda p, to: ["data", "synthesize", "--to", to, "--num-train", 9],
    "data split": lambda p, to: ["data", "split", p.store, "--to", to],
}
RUNS: dict[str, Arguments] = {
    "train": lambda p, to: ["train", p.config(), "--to", to],
    "compare": lambda p, to: ["compare", p.config(), "--to", to],
    "publish": lambda p, to: ["publish", p.run, "--to", to],
}
# What is made is a store of `data import`; how that is replaced is said there.
CLIPS: dict[str, Arguments] = {
    "features extract": lambda p, to: ["features", "extract", p.table, "--to", to],
}


def sweep(p: Place, to: Path) -> list[Any]:
    return ["sweep-absent", p.run, "--to", to, "--rates", "0,0.5", "--masks", 1, "--num-resamples", 100]


def features(p: Place) -> list[Any]:
    (p.folder / "clips").mkdir(exist_ok=True)
    rows = ["id,split,label"]
    for index, split in enumerate(["train", "valid", "test"] * 2):
        rows.append(f"{index},{split},{index % 3}")
        (p.folder / "clips" / f"{index}.csv").write_text("x,y\n1,2\n3,4\n")
    (p.folder / "new.csv").write_text("\n".join(rows) + "\n")
    return ["--scale", "mosi", "--split-column", "split", "--feature", f"audio={p.folder}/clips/{{id}}.csv"]


def test_every_command_that_writes_is_in_the_tables() -> None:
    tested = {
        " ".join(name.split()[:2]) if name.startswith(("data", "features")) else name.split()[0]
        for name in (*FILES, *SEVERAL, *STORES, *RUNS, *CLIPS)
    } | {"demo", "score"}  # of what scores test_score.py looks
    found = set()

    def walk(group: Any, prefix: str) -> None:
        # Groups may make their commands only when they are asked for them.
        for name in group.list_commands(None):
            command = group.get_command(None, name)
            if hasattr(command, "list_commands"):
                walk(command, f"{prefix}{name} ")
                continue
            options = {option for parameter in command.params for option in parameter.opts}
            # A search goes on in its folder; what no search made there is refused.
            if options & {"--to", "--html"} and name != "tune":
                assert "--overwrite" in options, f"{prefix}{name} cannot be told to overwrite"
                found.add("data import" if prefix.startswith("data import") else f"{prefix}{name}")

    walk(typer.main.get_command(app), "")
    assert found == tested


@pytest.mark.parametrize("command", FILES)
def test_a_file_of_another_program_is_replaced_only_when_asked(command, place, qinn):
    suffix, arguments = FILES[command]
    target = place.folder / f"mine{suffix}"
    target.write_text("years of work\n")
    code, err = qinn(*arguments(place, target))
    assert code == 2
    assert "exists already" in err
    assert "--overwrite" in err
    assert target.read_text() == "years of work\n"
    code, err = qinn(*arguments(place, target), "--overwrite")
    assert code == 0, err
    assert target.read_bytes() != b"years of work\n"


@pytest.mark.parametrize("command", [name for name in FILES if "convert" not in name])
def test_what_the_same_command_made_is_replaced_without_asking(command, place, qinn):
    suffix, arguments = FILES[command]
    target = place.folder / f"mine{suffix}"
    assert qinn(*arguments(place, target))[0] == 0
    first = target.read_bytes()
    code, err = qinn(*arguments(place, target))
    assert code == 0, err
    assert target.read_bytes() == first


def test_what_another_command_of_ours_made_is_not_replaced(place, qinn):
    page, table = place.folder / "page.html", place.folder / "p.parquet"
    assert qinn("report", place.run, "--to", page)[0] == 0
    assert "was not made by `qinn data describe`" in qinn("data", "describe", place.store, "--html", page)[1]
    assert qinn("data", "convert", place.store, "--to", table)[0] == 0
    assert "was not made by `qinn predict`" in qinn("predict", place.run, place.store, "--to", table)[1]


def test_predictions_in_csv_that_were_changed_since_are_not_replaced(place, qinn):
    target = place.folder / "p.csv"
    assert qinn("predict", place.run, place.store, "--to", target)[0] == 0
    target.write_text(target.read_text().replace("absent", "absent", 1) + "my,own,row\n")
    code, err = qinn("predict", place.run, place.store, "--to", target)
    assert code == 2
    assert target.read_text().endswith("my,own,row\n")
    assert "was not made by" in err


def plain(target: Path, folder: Path, suffix: str) -> Path:
    return target


def dotted(target: Path, folder: Path, suffix: str) -> Path:
    (folder / "sub").mkdir()
    return folder / "sub" / ".." / target.relative_to(folder)


def linked(target: Path, folder: Path, suffix: str) -> Path:
    (folder / f"link{suffix}").symlink_to(target)
    return folder / f"link{suffix}"


def through_a_linked_folder(target: Path, folder: Path, suffix: str) -> Path:
    (folder / "away").symlink_to(target.parent)
    return folder / "away" / target.name


def hard(target: Path, folder: Path, suffix: str) -> Path:
    os.link(target, folder / f"hard{suffix}")
    return folder / f"hard{suffix}"


SPELLINGS = [plain, dotted, linked, through_a_linked_folder, hard]
PRECIOUS = [
    "store/manifest.json",
    "store/samples.parquet",
    "run/run.json",
    "run/config.yaml",
    "run/predictions.parquet",
    "run/folds/000/weights.safetensors",
    "comparison/comparison.json",
    "comparison/a/seed-0/run.json",
]


# A hard link is in no place that could be refused, and the command writes its file: where that means drawing a page,
# a document, a table and a file of weights stand for all.
ONE_OF_EACH_KIND = ("store/manifest.json", "run/predictions.parquet", "run/folds/000/weights.safetensors")
OVERWRITES = [
    (command, precious, spell)
    for command in ("predict parquet", "report", "data describe", "data convert npz")
    for precious in PRECIOUS
    for spell in SPELLINGS
    if spell is not hard or command not in ("report", "data describe") or precious in ONE_OF_EACH_KIND
]


@pytest.mark.parametrize(("command", "precious", "spell"), OVERWRITES)
def test_a_file_of_a_store_or_run_stays_even_when_told_to_overwrite(command, precious, spell, place, qinn):
    suffix, arguments = FILES[command]
    target = place.folder / precious
    before = target.read_bytes()
    code, err = qinn(*arguments(place, spell(target, place.folder, suffix)), "--overwrite")
    assert target.read_bytes() == before
    if spell is not hard:
        assert code == 2
        assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", FILES)
def test_no_new_file_is_put_into_a_store(command, place, qinn):
    suffix, arguments = FILES[command]
    before = sorted(place.store.iterdir())
    code, err = qinn(*arguments(place, place.store / f"new{suffix}"))
    assert code == 2
    assert "store" in err
    assert sorted(place.store.iterdir()) == before


def test_what_a_command_reads_is_not_its_output(place, qinn):
    os.link(place.run / "predictions.parquet", place.folder / "p.parquet")
    code, err = qinn("predict", place.run, place.store, "--to", place.folder / "p.parquet", "--overwrite")
    assert code == 2
    assert "reads" in err


@pytest.mark.parametrize("command", SEVERAL)
def test_one_foreign_file_among_several_is_enough_to_refuse(command, place, qinn):
    name, arguments = SEVERAL[command]
    target = place.folder / "out"
    target.mkdir()
    (target / name).write_text("mine")
    code, err = qinn(*arguments(place, target))
    assert code == 2
    assert name in err
    assert [entry.name for entry in target.iterdir()] == [name]
    assert (target / name).read_text() == "mine"


@pytest.mark.parametrize("command", ["explain", "sweep-absent"])
def test_several_files_of_the_same_command_are_replaced(command, place, qinn):
    arguments = SEVERAL[command][1]
    target = place.folder / "out"
    assert qinn(*arguments(place, target))[0] == 0
    names = sorted(entry.name for entry in target.iterdir())
    code, err = qinn(*arguments(place, target))
    assert code == 0, err
    assert sorted(entry.name for entry in target.iterdir()) == names
    (target / names[0]).write_text("mine")
    assert qinn(*arguments(place, target))[0] == 2
    assert qinn(*arguments(place, target), "--overwrite")[0] == 0


@pytest.mark.parametrize("command", ["explain", "sweep-absent"])
def test_what_is_interrupted_before_it_draws_leaves_no_figure_of_another(command, place, qinn, monkeypatch):
    target, draw = place.folder / "out", {"explain": "explanation", "sweep-absent": "sweep"}[command]
    target.mkdir()
    name = SEVERAL[f"{command} figure"][0]
    (target / name).write_text(f"<svg></svg><!-- made by qinn {command} -->")
    monkeypatch.setattr(f"qinn.face.reporting.write_{draw}_figures", exhausted)
    assert qinn(*SEVERAL[command][1](place, target))[0] == 2
    assert (target / SEVERAL[command][0]).is_file()
    assert not (target / name).exists()


FILLED = {"train": RUNS["train"], "compare": RUNS["compare"], "tune": lambda p, to: [*tuning(p), "--to", to]}


def tuning(p: Place) -> list[Any]:
    return ["tune", p.config(models={"a": QINN}, tune={"space": {"learning_rate": [0.1]}, "trials": 1})]


@pytest.mark.parametrize("command", FILLED)
def test_a_folder_is_filled_wherever_it_lies_if_it_can_be_written(command, place, qinn, monkeypatch):
    target, access = place.folder / "around" / "mounted", os.access
    target.mkdir(parents=True)
    closed = {target.parent}
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and not (mode & os.W_OK and path in closed)
    )
    arguments = FILLED[command](place, target)
    assert qinn(*arguments)[0] == 0
    closed.add(target)
    code, err = qinn(*arguments)
    assert (code, "permission denied" in err) == ((0, False) if command == "train" else (2, True)), err


@pytest.mark.parametrize("command", ["explain", "sweep-absent"])
def test_a_run_does_not_get_another_explanation_or_a_sweep_among_its_files(command, place, qinn):
    before = {path: path.read_bytes() for path in place.run.rglob("*") if path.is_file()}
    code, err = qinn(*SEVERAL[command][1](place, place.run), "--overwrite")
    after = {path: path.read_bytes() for path in place.run.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert code == (2 if command == "explain" else 0), err


def test_an_explanation_goes_into_its_run_and_is_replaced_there(place, qinn):
    assert qinn("explain", place.run)[0] == 0
    assert qinn("explain", place.run)[0] == 0


@pytest.mark.parametrize("command", [*STORES, *RUNS, *CLIPS])
@pytest.mark.parametrize("inside", ["store", "run", "store/new", "run/new", "store/samples.parquet"])
def test_no_folder_goes_into_a_store_or_run(inside, command, place, qinn):
    before = {path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file()}
    arguments = {**STORES, **RUNS, **CLIPS}[command](place, place.folder / inside)
    before |= {path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file()}
    code, err = qinn(*arguments, *(["--overwrite"] if inside != "run" else []))
    if (command, inside) == ("data synthesize", "store"):
        assert code == 0, "a store that the same command made is replaced when asked to"
        return
    assert code == 2, err
    assert {path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", STORES)
def test_a_store_is_replaced_by_its_own_command_and_only_when_asked(command, place, qinn):
    target = place.folder / "made"
    assert qinn(*STORES[command](place, target))[0] == 0
    code, err = qinn(*STORES[command](place, target))
    assert code == 2
    assert "--overwrite" in err
    for other in STORES:
        code, err = qinn(*STORES[other](place, target), "--overwrite")
        assert (code == 0) == (other == command), err


def test_a_folder_that_holds_what_is_read_is_not_replaced(place, qinn):
    made = place.folder / "made"
    assert qinn(*STORES["data split"](place, made))[0] == 0
    code, err = qinn("data", "split", made, "--to", made, "--overwrite")
    assert code == 2
    assert "reads" in err
    table = made / "mine.csv"
    table.write_text(place.table.read_text())
    code, err = qinn("data", "import", "table", table, "--to", made, "--overwrite")
    assert code == 2
    assert table.exists()


@pytest.mark.parametrize("command", ["predict csv", "report"])
def test_a_link_is_written_through(command, place, qinn):
    suffix, arguments = FILES[command]
    real, link = place.folder / f"real{suffix}", place.folder / f"link{suffix}"
    link.symlink_to(real)
    assert qinn(*arguments(place, link))[0] == 0
    assert link.is_symlink()
    assert not real.is_symlink()
    assert real.stat().st_size
    assert qinn(*arguments(place, link))[0] == 0
    assert link.is_symlink()


@pytest.mark.parametrize("command", FILES)
def test_a_pipe_is_not_replaced(command, place, qinn):
    suffix, arguments = FILES[command]
    target = place.folder / f"pipe{suffix}"
    os.mkfifo(target)
    code, err = qinn(*arguments(place, target), "--overwrite")
    assert code == 2
    assert "no regular file" in err
    assert stat.S_ISFIFO(target.stat().st_mode)


@contextmanager
def mask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("command", [*FILES, "explain", "sweep-absent", *STORES, *RUNS])
def test_files_have_the_permissions_of_the_umask(command, place, qinn):
    if command in FILES:
        suffix, arguments = FILES[command]
        target = place.folder / "fresh" / f"new{suffix}"
    else:
        arguments = SEVERAL[command][1] if command in SEVERAL else {**STORES, **RUNS}[command]
        target = place.folder / "fresh"
    with mask(0o027):
        code, err = qinn(*arguments(place, target))
    assert code == 0, err
    for path in (place.folder / "fresh").rglob("*"):
        wanted = 0o750 if path.is_dir() else 0o640
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("the work began before the place was checked")


@pytest.mark.parametrize(
    ("command", "work"),
    [
        ("predict csv", "qinn.experiment.predictor.Predictor.load"),
        ("report", "qinn.report.page.read_results"),
        ("data describe", "qinn.report.dataset_page.inspect"),
        ("explain", "qinn.experiment.predictor.Predictor.load"),
        ("sweep-absent", "qinn.experiment.predictor.Predictor.load"),
        ("data split", "qinn.data.subsets.division.divide"),
        ("data import", "qinn.data.importing.table.read_tables"),
        ("train", "qinn.experiment.run.build_folds"),
        ("compare", "qinn.experiment.comparison.run"),
    ],
)
def test_the_place_is_checked_before_the_work(command, work, place, qinn, monkeypatch):
    if command in FILES:
        suffix, arguments = FILES[command]
        target = place.folder / f"mine{suffix}"
        target.write_text("mine")
    else:
        arguments = SEVERAL[command][1] if command in SEVERAL else {**STORES, **RUNS}[command]
        target = place.folder / "mine"
        target.mkdir()
        for name in ("explanation.json", "sweep.json", "thesis.tex"):
            (target / name).write_text("mine")
    given = arguments(place, target)
    monkeypatch.setattr(work, never)
    code, err = qinn(*given)
    assert code == 2, err


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no file system that takes no files")
@pytest.mark.parametrize(
    ("command", "work"),
    [
        ("predict csv", "qinn.experiment.predictor.Predictor.load"),
        ("sweep-absent", "qinn.experiment.predictor.Predictor.load"),
        ("explain", "qinn.experiment.predictor.Predictor.load"),
        ("publish", "qinn.experiment.publishing.load_models"),
        ("data split", "qinn.data.subsets.division.divide"),
        ("train", "qinn.experiment.run.build_folds"),
    ],
)
def test_a_place_where_even_an_administrator_writes_nothing_is_refused_before_the_work(
    command, work, place, qinn, monkeypatch
):
    suffix, arguments = FILES.get(command) or ("", {**SEVERAL, **STORES, **RUNS}.get(command))
    given = (arguments[1] if isinstance(arguments, tuple) else arguments)(place, Path(f"/proc/qinn{suffix}"))
    monkeypatch.setattr(work, never)
    code, err = qinn(*given)
    assert code == 2, err
    assert "Cannot write `/proc/qinn" in err


FAST = {"models": {"QiNN-QJ": QINN}, "training": {**TRAINING, "max_epochs": 1}}


def exhausted(*_: Any, **__: Any) -> None:
    raise MemoryError("Unable to allocate 80. GiB")


BROKEN: dict[str, dict[str, Any]] = {
    "no GPU": {"training": {**TRAINING, "device": "gpu"}},
    "missing store": {"data": {"store": "none/such"}},
    "missing modality": {"data": {"store": "STORE", "modalities": ["smell"]}},
    "too large": {"models": {"QiNN-QJ": {**QINN, "state_dims": 4000}}},
    "wrong monitor": {"training": {**TRAINING, "monitor": "taste"}},
}


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("fault", [*BROKEN, "out of memory"])
def test_a_failed_start_does_not_block_the_corrected_command(fault, command, place, qinn, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    broken = BROKEN.get(fault, {})
    if broken.get("data", {}).get("store") == "STORE":
        broken = {"data": {**broken["data"], "store": str(place.store)}}
    target = place.folder / "new" / "place"
    with monkeypatch.context() as patch:
        if fault == "out of memory":
            patch.setattr("qinn.training.loop.TrainingLoop.run_epoch", exhausted)
            broken = {"encoder": {"hidden_dim": 5}}
        code, err = qinn(command, place.config(**{**FAST, **broken}), "--to", target)
    assert code == 2
    assert [line[:6] for line in err.strip().splitlines() if not line.startswith("note: ")] == ["error:"]
    assert not target.exists()
    code, err = qinn(command, place.config(**FAST), "--to", target)
    assert code == 0, err


def test_what_a_killed_start_left_does_not_block_another_configuration(place, qinn):
    target = place.folder / "new"
    (target / "folds" / "000" / "logs").mkdir(parents=True)
    (target / "folds" / "000" / "checkpoints").mkdir()
    (target / "config.yaml").write_bytes(place.config(**FAST, seeds=[7]).read_bytes())
    code, err = qinn("train", place.config(**FAST), "--to", target)
    assert code == 0, err


def test_a_run_that_came_further_is_replaced_only_when_asked(place, qinn):
    other = place.config(models={"a": CONSTANT})
    before = (place.run / "run.json").read_bytes()
    code, err = qinn("train", other, "--to", place.run)
    assert code == 2
    assert "--overwrite" in err
    assert (place.run / "run.json").read_bytes() == before
    (place.run / "thesis.tex").write_text("mine")
    code, err = qinn("train", other, "--to", place.run, "--overwrite")
    assert code == 2
    assert "thesis.tex" in err
    (place.run / "thesis.tex").unlink()
    code, err = qinn("train", other, "--to", place.run, "--overwrite")
    assert code == 0, err
    assert json.loads((place.run / "run.json").read_text())["label"] == "a"


def test_a_run_of_a_comparison_is_not_replaced_by_train(place, qinn):
    run = place.comparison / "a" / "seed-0"
    before = (run / "run.json").read_bytes()
    code, err = qinn("train", place.config(seeds=[9]), "--to", run, "--overwrite")
    assert code == 2
    assert "comparison" in err
    assert (run / "run.json").read_bytes() == before


def test_a_failed_import_does_not_block_the_corrected_one(place, qinn):
    target = place.folder / "made"
    arguments = STORES["data import"](place, target)
    good = (place.folder / "new.csv").read_text()
    (place.folder / "new.csv").write_text(good.replace("0,train,0", "0,train,nan"))
    (place.folder / "new.csv").write_text(good.replace("\n0,train,0", "\n0,train,zero"))
    assert qinn(*arguments)[0] == 2
    assert not target.exists()
    (place.folder / "new.csv").write_text(good)
    code, err = qinn(*arguments)
    assert code == 0, err


def test_a_failed_explanation_does_not_block_the_corrected_one(place, qinn):
    target = place.folder / "explained"
    assert qinn("explain", place.run, "--split", "none", "--to", target)[0] == 2
    code, err = qinn("explain", place.run, "--to", target)
    assert code == 0, err


def test_a_demo_takes_no_other_store_for_its_own(place, qinn):
    shutil.copytree(place.store, place.folder / "demo" / "store")
    before = (place.folder / "demo" / "store" / "manifest.json").read_bytes()
    code, err = qinn("demo", "--to", place.folder / "demo")
    assert code == 2
    assert "store" in err
    assert (place.folder / "demo" / "store" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("name", ["report.html", "streams.svg"])
def test_a_demo_does_not_replace_a_page_of_another_program(name, place, qinn):
    (place.folder / "demo").mkdir()
    (place.folder / "demo" / name).write_text("mine")
    code, _ = qinn("demo", "--to", place.folder / "demo")
    assert code == 2
    assert (place.folder / "demo" / name).read_text() == "mine"
    assert [entry.name for entry in (place.folder / "demo").iterdir()] == [name]

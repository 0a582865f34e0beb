"""Features of clips become a store: steps have times, what is absent is absent, what fails has a line saying why."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qinn
from qinn.data.stores.manifest import may_be_alike
from qinn.errors import ArgumentError, ClipError, ConfigError, DataError, OutputError, QinnError
from qinn.experiment import clip_in_process, extraction
from qinn.experiment.workers import WorkerDiedError, work_in_processes
from qinn.face.extracting import extract_features
from qinn.features.acoustic import acoustic_frames
from qinn.features.clip import decode
from qinn.features.clip_features import ClipFeatures
from qinn.features.extraction import ClipOptions, Extractor

from ..clip_packages import needs_clips, needs_face, needs_speech
from ..made_clips import draw_face, gray, voice, write_clip

pytestmark = needs_clips

BUILT_IN = {"speech": "none", "face": "pixels", "text": "hash"}
TABLE = """id,file,label,split,group,text
a,a.mp4,1.5,train,ann,a good film
b,b.wav,-2,train,ben,"not good, at all"
c,c.mp4,0,test,ann,
d,d.mp4,2,test,ben,great
e,gone.mp4,1,test,ben,gone
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A talking film, a voice, a silent film, and a text that is called a film."""
    folder = tmp_path_factory.mktemp("clips")
    faces = [draw_face((96, 72), jaw=float(number % 2)) for number in range(25)]
    pause = np.zeros(4800, np.float32)
    write_clip(folder / "a.mp4", faces, np.concatenate([voice(0.5, 150), pause, voice(0.2, 200)]))
    write_clip(folder / "b.wav", sound=voice(1.0, 120), audio="pcm_s16le")
    write_clip(folder / "c.mp4", gray([90] * 25))
    (folder / "d.mp4").write_text("no film")
    (folder / "clips.csv").write_text(TABLE)
    return folder


@pytest.fixture
def here(monkeypatch) -> list[str]:
    """Do the work in this process; what was worked on is listed."""
    worked: list[str] = []

    def work(jobs, module, workers, on_answer, limits):
        for index, job in enumerate(jobs):
            worked.append(Path(job["path"]).name)
            error = None
            try:
                clip_in_process.do(json.loads(json.dumps(job)), print)
            except QinnError as found:
                error = found
            on_answer(index, error)

    monkeypatch.setattr(extraction, "work_in_processes", work)
    return worked


def extracted(clips: Path, to: Path, **options):
    return extract_features(
        clips / "clips.csv", to, text_column="text", scale="mosi", **{**BUILT_IN, **options}
    )


def test_a_table_of_clips_becomes_a_store(clips, here, tmp_path):
    found = extracted(clips, tmp_path / "store")
    store = found.store
    assert list(store.strings("id")) == ["a", "b", "c"]
    assert store.modalities == {"text": 64, "audio": 25, "vision": 18}
    assert store.tiers == {"text": "hash@1/words", "audio": "acoustic@2/10Hz", "vision": "pixels@1/10fps"}
    assert store.labels.tolist() == [1.5, -2, 0]
    assert store.strings("group").tolist() == ["ann", "ben", "ann"]
    assert store.strings("words_by").tolist() == ["given", "given", "given"]
    # a silent film says nothing, and a voice shows nothing
    steps = {name: np.diff(store.offsets(name)).tolist() for name in store.modalities}
    assert steps == {"text": [3, 4, 0], "audio": [11, 10, 0], "vision": [10, 0, 10]}
    assert store.times("vision") is not None
    kept = ClipFeatures.load(next(path for path in kept_files(tmp_path) if load_text(path) == "a good film"))
    assert [word.text for word in kept.words] == ["a", "good", "film"]
    assert kept.steps["audio"].values.shape == (11, 25)
    assert kept.steps["vision"].values.shape == (10, 18)
    rows = read(tmp_path / "store-clips" / "quality.csv")
    assert [row["num_words"] for row in rows] == ["3", "4", "0"]
    assert rows[2]["sound_seconds"] == "0.0"
    assert "there is no sound" in rows[2]["notes"]
    assert rows[1]["width"] == ""
    assert "there are no pictures" in rows[1]["notes"]


def kept_files(folder: Path) -> list[Path]:
    return sorted((folder / "store-clips" / "clips").iterdir())


def load_text(path: Path) -> str:
    return ClipFeatures.load(path).text


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_what_fails_is_a_line_with_its_reason(clips, here, tmp_path):
    found = extracted(clips, tmp_path / "store")
    assert [one.clip.id for one in found.extraction.failures] == ["d", "e"]
    rows = read(tmp_path / "store-clips" / "failures.csv")
    assert [row["id"] for row in rows] == ["d", "e"]
    assert "it is a text that begins with `no film`" in rows[0]["reason"]
    assert "cannot be read: No such file" in rows[1]["reason"]
    assert "d.mp4" in here
    assert "gone.mp4" not in here
    with pytest.raises(ClipError, match="gone"):
        extracted(clips, tmp_path / "other", fail_fast=True)
    assert not (tmp_path / "other").exists()


def test_nothing_is_made_twice(clips, here, tmp_path):
    first = extracted(clips, tmp_path / "store")
    here.clear()
    again = extracted(clips, tmp_path / "store", overwrite=True)
    # what failed is tried again, what is there is not made again
    assert here == ["d.mp4"]
    assert again.extraction.num_kept == 3
    assert again.store.sha256 == first.store.sha256
    kept = kept_files(tmp_path)
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    here.clear()
    mended = extracted(clips, tmp_path / "store", overwrite=True)
    assert len(here) == 2
    assert mended.store.sha256 == first.store.sha256
    here.clear()
    extracted(clips, tmp_path / "store", overwrite=True, fps=5.0)
    assert sorted(here) == ["a.mp4", "b.wav", "c.mp4", "d.mp4"]


def test_other_features_have_another_tier(clips, here, tmp_path):
    one, other = extracted(clips, tmp_path / "one").store, extracted(clips, tmp_path / "other", fps=5.0).store
    assert not may_be_alike(one.tiers["vision"], other.tiers["vision"])
    assert may_be_alike(one.tiers["audio"], other.tiers["audio"])


def test_a_clip_that_is_scored_has_the_features_of_the_store(clips, here, tmp_path):
    found = extracted(clips, tmp_path / "store")
    tiers = {name: tier for name, tier in found.store.tiers.items() if name != "text"}
    alone = Extractor.of_tiers(tiers).extract(clips / "a.mp4", words=["a", "good", "film"])
    with np.load(found.extraction.features) as arrays:
        for modality in ("audio", "vision"):
            stop = arrays[f"{modality}_offsets"][1]
            assert arrays[modality][:stop].tobytes() == alone.steps[modality].values.tobytes()
            assert arrays[f"{modality}_seconds"][:stop].tobytes() == alone.steps[modality].seconds.tobytes()
            assert str(arrays[f"{modality}_extractor"]) == tiers[modality]


def test_foreign_features_cannot_be_made_of_clips():
    for tiers, sentence in (
        ({"audio": "covarep@1.4"}, "made by `covarep@1.4` cannot be made of a clip"),
        ({"audio": "pixels@1/10fps"}, "cannot be made of a clip"),
        ({"vision": ""}, "`nothing that is stated`"),
        ({"audio": "acoustic@1/10Hz"}, "but this qinn makes `acoustic@2/10Hz`"),
        ({"vision": "face-mesh@1#00000000/10fps"}, "but this qinn makes `face-mesh@1#64184e22/10fps`"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            ClipOptions.of_tiers(tiers)
    for options in (
        ClipOptions(fps=12.5, sound_rate=4.0, face="pixels"),
        ClipOptions(fps=12.5, face="pixels", align="words"),
        ClipOptions(face="none", align="words"),
    ):
        assert ClipOptions.of_tiers(options.tiers, speech=options.speech) == options


def test_words_without_anybody_who_hears_them_are_refused(clips, tmp_path):
    with pytest.raises(ConfigError, match="`--align words` needs words"):
        extract_features(clips / "a.mp4", tmp_path / "store", align="words", **BUILT_IN)
    assert list(tmp_path.iterdir()) == []


def test_steps_of_words_are_means_over_the_time_of_each_word(clips, here, tmp_path):
    found = extracted(clips, tmp_path / "store", align="words")
    store = found.store
    assert store.tiers == {
        "text": "hash@1/words",
        "audio": "acoustic@2/words",
        "vision": "pixels@1/10fps/words",
    }
    assert {name: np.diff(store.offsets(name)).tolist() for name in store.modalities} == {
        "text": [3, 4],
        "audio": [3, 4],
        "vision": [3, 0],
    }
    # The silent film, in which nobody says a word.
    assert "1 sample without a step in any modality was left out" in store.manifest["notes"]
    tiers = {name: tier for name, tier in store.tiers.items() if name != "text"}
    alone = Extractor.of_tiers(tiers).extract(clips / "a.mp4", words=["a", "good", "film"])
    words = alone.words
    assert alone.steps["audio"].seconds.tolist() == [(word.begin + word.end) / 2 for word in words]
    sound = decode(clips / "a.mp4").sound
    assert sound is not None
    frames = acoustic_frames(sound)
    for place, word in enumerate(words):
        inside = (frames.seconds >= word.begin) & (frames.seconds < word.end)
        voiced = inside & (frames.values[:, 2] > 0)
        assert alone.steps["audio"].values[place, 0] == pytest.approx(
            frames.values[inside, 0].mean(), rel=1e-5
        )
        assert alone.steps["audio"].values[place, 2] == pytest.approx(
            frames.values[voiced, 2].mean(), rel=1e-5
        )
    with np.load(found.extraction.features) as arrays:
        stop = arrays["audio_offsets"][1]
        assert arrays["audio"][:stop].tobytes() == alone.steps["audio"].values.tobytes()


def test_cuts_of_one_file_are_clips_of_their_own(clips, here, tmp_path):
    (tmp_path / "cuts.csv").write_text(
        f"id,file,begin,end\none,{clips / 'a.mp4'},0,0.5\ntwo,{clips / 'a.mp4'},0.5,1\nrest,{clips / 'a.mp4'},0.4,\n"
    )
    found = extract_features(tmp_path / "cuts.csv", tmp_path / "store", **BUILT_IN)
    assert list(found.store.strings("id")) == ["one", "two", "rest"]
    rows = read(tmp_path / "store-clips" / "quality.csv")
    assert [float(row["seconds"]) for row in rows][:2] == pytest.approx([0.5, 0.5], abs=0.05)
    assert found.store.manifest["task"]["kind"] == "regression"


def test_a_folder_is_searched_and_names_are_ids(clips, here, tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name, source in (
        ("one.mp4", "a.mp4"),
        ("er/two.wav", "b.wav"),
        (".hidden.mp4", "a.mp4"),
        ("no.txt", "d.mp4"),
    ):
        (tmp_path / "deep" / name).write_bytes((clips / source).read_bytes())
    found = extract_features(tmp_path / "deep", tmp_path / "store", **BUILT_IN)
    assert list(found.store.strings("id")) == ["er/two", "one"]
    (tmp_path / "deep" / "one.wav").write_bytes(b"")
    with pytest.raises(DataError, match="would both be called `one`"):
        extract_features(tmp_path / "deep", tmp_path / "other", **BUILT_IN)


@pytest.mark.parametrize(
    ("table", "options", "error", "sentence"),
    [
        ("file,label\na.mp4,1\n", {}, ConfigError, "needs the possible range of its labels"),
        ("file,label\na.mp4,9\n", {"scale": "mosi"}, DataError, "9"),
        ("clip,label\na.mp4,1\n", {"scale": "mosi"}, ConfigError, "has no column `file`"),
        ("file\na.mp4\na.mp4\n", {}, DataError, "would both be called `a`"),
        ("file,begin,end\na.mp4,2,1\n", {}, DataError, r"is cut from 2\.0 to 1\.0 s"),
        ("file,begin\na.mp4,early\n", {}, DataError, "`early` in column `begin`"),
        ("file,id\n,a\n", {}, DataError, "names no file in column `file`"),
        ("id,file\n,a.mp4\n", {}, DataError, "has no id in column `id`"),
        ("file,split\na.mp4,later\n", {}, DataError, "clip `a` has the split `later`, which is unknown"),
        (
            "file,joy,fear\na.mp4,1,much\n",
            {"task": "multilabel", "labels": "joy,fear"},
            DataError,
            "`much` for the label `fear` in column `joy, fear`",
        ),
        (
            "file,joy\na.mp4,1\n",
            {"task": "multilabel", "labels": "joy,fear"},
            ConfigError,
            "has no column `fear`",
        ),
        ("file\na.mp4\n", {"text_column": "said"}, ConfigError, "has no column `said`"),
        ("file\na.mp4\n", {"speach": "none"}, ConfigError, "no option `speach`"),
        ("file\na.mp4\n", {"fps": 0.0}, ConfigError, "Option `fps`"),
        (
            "file\na.mp4\n",
            {"face": "openface"},
            ConfigError,
            "Option `face` must be face-mesh, pixels or none",
        ),
        ("file\na.mp4\n", {"sound": "none", "face": "none"}, ConfigError, "must not all be none"),
        ("file\na.mp4\n", {"workers": 0}, ArgumentError, "Argument `workers`"),
        ("file\na.mp4\n", {"text": "bogus"}, ConfigError, "Text encoder `bogus` is unknown"),
        ("file\na.mp4\n", {"text": "folder:nowhere"}, ConfigError, "Text encoder `folder:nowhere`"),
        ("file\na.mp4\n", {"text": "hash", "num_words": 5}, ConfigError, "Option `num_words` goes with"),
    ],
)
def test_what_is_wrong_is_said_before_any_clip_is_read(
    clips, here, tmp_path, table, options, error, sentence
):
    (clips / "wrong.csv").write_text(table)
    with pytest.raises(error, match=sentence):
        extract_features(clips / "wrong.csv", tmp_path / "store", **{**BUILT_IN, **options})
    assert here == []
    assert list(tmp_path.iterdir()) == []


def test_places_of_others_are_left_alone(clips, here, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match="holds no features of clips"):
        extracted(clips, tmp_path / "store", work=tmp_path / "mine")
    with pytest.raises(OutputError):
        extracted(clips, tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.tex"]
    assert here == []


def test_without_any_clip_that_can_be_read_there_is_no_store(clips, here, tmp_path):
    (clips / "e.mp4").write_text("no film either")
    with pytest.raises(DataError, match=r"None of 2 clips could be read, the first since: .*no film"):
        extract_features([clips / "d.mp4", clips / "e.mp4"], tmp_path / "store", **BUILT_IN)
    assert not (tmp_path / "store").exists()
    assert len(read(tmp_path / "store-clips" / "failures.csv")) == 2


def test_of_a_single_clip_that_cannot_be_read_nothing_is_left(clips, here, tmp_path):
    with pytest.raises(ClipError, match=r"^`.*d\.mp4` is no clip that can be read: .*no film"):
        extract_features(clips / "d.mp4", tmp_path / "store", **BUILT_IN)
    assert list(tmp_path.iterdir()) == []
    # what was there before stays
    extract_features(clips / "a.mp4", tmp_path / "store", **BUILT_IN)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ClipError):
        extract_features(clips / "d.mp4", tmp_path / "other", work=tmp_path / "store-clips", **BUILT_IN)
    assert sorted(tmp_path.rglob("*")) == before


def test_hostile_names_stay_within_their_cells(clips, here, tmp_path):
    name = "=cmd\n\x1b[31m,.mp4"
    (tmp_path / name).write_text("no film")
    found = extract_features([tmp_path / name, clips / "a.mp4"], tmp_path / "store", **BUILT_IN)
    assert len(found.extraction.failures) == 1
    row = read(tmp_path / "store-clips" / "failures.csv")[0]
    assert row["id"].startswith("'=cmd")


def test_clips_are_kept_whatever_they_are_called(clips, here, tmp_path):
    names = ["a\r.wav", "b\nc.wav", " d .wav", "\u202ee.wav", "f\udcff.wav", "g,\"h'.wav", "=i\t.wav"]
    (tmp_path / "set").mkdir()
    for name in names:
        (tmp_path / "set" / name).write_bytes((clips / "b.wav").read_bytes())
    (tmp_path / "set" / "link.wav").symlink_to(clips / "b.wav")
    (tmp_path / "set" / "broken.wav").symlink_to(tmp_path / "nowhere.wav")
    found = extract_features(tmp_path / "set", tmp_path / "store", **BUILT_IN)
    assert [failure.clip.id for failure in found.extraction.failures] == ["broken"]
    assert len(found.store) == len(names) + 1
    assert (np.diff(found.store.offsets("audio")) > 0).all()
    assert set(found.store.strings("id")) >= {"a\\r", "b\\nc", "\\u202ee", "f\\udcff", "link"}
    table = 'id,file\n"x\ry",b.wav\n"x\ny",a.mp4\n'
    (clips / "lines.csv").write_text(table, newline="")
    found = extract_features(clips / "lines.csv", tmp_path / "other", **BUILT_IN)
    assert list(found.store.strings("id")) == ["x\ry", "x\ny"]
    assert (np.diff(found.store.offsets("audio")) > 0).all()


def test_two_commands_do_not_work_in_one_folder(clips, here, tmp_path):
    work = tmp_path / "work"
    with extraction.taken(work, [], ClipOptions(speech="none", face="pixels")):
        with pytest.raises(
            OutputError, match=r"Another command \(process \d+\) works in `.*work`; wait .*--work"
        ):
            extracted(clips, tmp_path / "store", work=work)
        assert here == []
    assert len(extracted(clips, tmp_path / "store", work=work).store) == 3


def test_several_labels_of_clips_come_from_columns_of_their_table(clips, here, tmp_path):
    table = "id,file,joy,afraid,label\na,a.mp4,1,,9\nb,b.wav,0,1,9\n"
    (clips / "several.csv").write_text(table)
    found = extract_features(
        clips / "several.csv",
        tmp_path / "store",
        task="multilabel",
        labels="joy,fear=afraid",
        threshold=0.4,
        **BUILT_IN,
    )
    assert (found.store.task.names, found.store.task.threshold) == (("joy", "fear"), 0.4)
    assert found.store.labels.tolist() == [[1, -1], [0, 1]]
    assert not [name for name in found.store.table.column_names if "label:" in name]


def test_a_mistake_of_ours_costs_one_clip(clips, here, tmp_path, monkeypatch):
    extract = Extractor.extract

    def fail(self, path, **options):
        if str(path).endswith("b.wav"):
            raise ZeroDivisionError("nobody thought of it")
        return extract(self, path, **options)

    monkeypatch.setattr(Extractor, "extract", fail)
    found = extracted(clips, tmp_path / "store")
    assert list(found.store.strings("id")) == ["a", "c"]
    reasons = {one.clip.id: one.reason for one in found.extraction.failures}
    assert "a mistake of qinn: ZeroDivisionError, nobody thought of it" in reasons["b"]


def test_given_words_are_spread_over_what_sounds(clips):
    extractor = Extractor(ClipOptions(speech="none", face="none"))
    found = extractor.extract(clips / "a.mp4", words=["one", "two", "three", "four"])
    assert [word.text for word in found.words] == ["one", "two", "three", "four"]
    assert found.heard_by == "given"
    assert all(any(begin <= word.begin <= end for begin, end in found.voiced) for word in found.words)
    assert "are a guess: they are spread over where something sounds" in found.notes[0]
    assert extractor.extract(clips / "a.mp4").heard_by == ""
    silent = Extractor(ClipOptions(speech="none")).options
    assert silent.speech == "none"


def test_features_are_read_as_they_were_written(clips, tmp_path):
    found = Extractor(ClipOptions(speech="none", face="pixels")).extract(
        clips / "a.mp4", words=["ünï", "中文"]
    )
    found.save(tmp_path / "one.npz")
    found.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    again = ClipFeatures.load(tmp_path / "one.npz")
    assert (again.words, again.voiced, again.quality, again.notes) == (
        found.words,
        found.voiced,
        found.quality,
        found.notes,
    )
    assert again.tiers == found.tiers
    assert again.steps["audio"].values.tobytes() == found.steps["audio"].values.tobytes()
    (tmp_path / "two.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(DataError, match="does not hold the features of a clip"):
        ClipFeatures.load(tmp_path / "two.npz")


def test_what_a_clip_lacks_has_no_sequence(clips):
    extractor = Extractor(ClipOptions(speech="none", face="pixels"))
    assert set(extractor.extract(clips / "c.mp4").steps) == {"vision"}
    assert set(extractor.extract(clips / "b.wav").steps) == {"audio"}


def test_what_is_silent_or_ends_too_early_is_said(tmp_path):
    path = write_clip(tmp_path / "a.mkv", gray([90] * 100), np.zeros(4 * 16_000, np.float32), audio="flac")
    extractor = Extractor(ClipOptions(speech="none", face="pixels"))
    assert extractor.extract(path).notes == ("the sound is silent",)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    [early, *_] = extractor.extract(path).notes
    assert early.startswith("the file should last 4.0 s, but ends after")
    assert not any("ends after" in note for note in extractor.extract(path, end=0.5).notes)


def test_python_has_it_under_its_name():
    assert qinn.extract_features is extract_features


def test_a_process_that_dies_costs_one_job(tmp_path, monkeypatch):
    (tmp_path / "jobs_of_a_test.py").write_text(
        "import os\n\n\ndef do(job, tell):\n    if job['dies']:\n        os.kill(os.getpid(), 9)\n"
        "    open(job['file'], 'w').close()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    answers: dict[int, BaseException | None] = {}
    jobs = [{"dies": number == 1, "file": str(tmp_path / f"done-{number}")} for number in range(4)]
    work_in_processes(jobs, "jobs_of_a_test", 1, lambda index, error: answers.update({index: error}))
    assert [type(answers[number]) for number in range(4)] == [
        type(None),
        WorkerDiedError,
        type(None),
        type(None),
    ]
    assert [(tmp_path / f"done-{number}").exists() for number in range(4)] == [True, False, True, True]


ONE = """
import json, sys
from qinn.experiment.clip_in_process import do
do(json.loads(sys.argv[1]), print)
"""


@pytest.mark.slow
@needs_face
@needs_speech
def test_processes_and_threads_change_no_byte(tmp_path):
    faces = [
        draw_face((160, 120), jaw=number % 3 / 2, at=(0.45 + 0.005 * number, 0.5)) for number in range(25)
    ]
    path = write_clip(tmp_path / "a.mp4", faces, voice(1.0, 140))
    options = {"speech": "whisper-tiny.en", "sound": "acoustic", "face": "face-mesh", "fps": 10.0}
    options |= {"sound_rate": 10.0, "max_seconds": 60.0}
    made = []
    for threads in ("1", "2"):
        target = tmp_path / f"{threads}.npz"
        job = {"path": str(path), "name": "a", "begin": None, "end": None, "words": None, "options": options}
        job |= {"landmarks": True, "target": str(target)}
        variables = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        variables |= {"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "TMPDIR": str(tmp_path / "tmp")}
        (tmp_path / "tmp").mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", ONE, json.dumps(job)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        made.append(target.read_bytes())
    assert made[0] == made[1]
    # Not even what onnxruntime keeps there to tell its makers of each start.
    assert list((tmp_path / "tmp").iterdir()) == []
    found = ClipFeatures.load(tmp_path / "1.npz")
    assert found.landmarks is not None
    assert found.steps["vision"].values.shape == (10, 58)


@pytest.mark.slow
def test_the_command_makes_a_store_and_says_what_failed(clips, tmp_path):
    command = [sys.executable, "-m", "qinn", "features", "extract", str(clips / "clips.csv"), "--to", "store"]
    command += [
        "--speech",
        "none",
        "--face",
        "pixels",
        "--text",
        "hash",
        "--text-column",
        "text",
        "--scale",
        "mosi",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "wrote store: 3 clips" in done.stderr
    assert (
        "2 clips failed and are not in the store; store-clips/failures.csv says which and why" in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "store-clips"]
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.slow
def test_an_interrupted_command_goes_on_where_it_stopped(clips, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.mp4").write_bytes((clips / "a.mp4").read_bytes() + bytes(number))
    command = [sys.executable, "-m", "qinn", "features", "extract", "many", "--to", "store"]
    command += ["--speech", "none", "--face", "pixels", "--text", "hash"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "3 of 12 done" in line:
            break
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert "repeat the command to continue where it stopped" in said
    assert not (tmp_path / "store").exists()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    kept = int(done.stderr.split("12 clips, ")[1].split(" of them made before")[0])
    assert 3 <= kept < 12

"""`qinn score`: one clip in words, many as rows; what is no clip is refused in a sentence and leaves nothing behind."""

import csv
import io
import json
import os
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qinn.cli import main
from qinn.destinations import check_destination, check_folder, marked
from qinn.errors import ClipError
from qinn.face import scoring
from qinn.features.extraction import ClipOptions, Extractor
from qinn.results.clip_score import ClipScore

from ..clip_packages import needs_clips
from ..clip_scores import made_score
from ..made_clips import gray, voice, write_clip

pytestmark = needs_clips


class Scorer:
    """Reads clips as a real one does, and makes up what a run would say."""

    def __init__(self) -> None:
        self.extractor = Extractor(ClipOptions(speech="none", face="pixels"))
        self.asked: list[dict[str, Any]] = []

    def score(self, path: Path, **options: Any) -> ClipScore:
        self.asked.append(options)
        features = self.extractor.extract(
            path, begin=options["begin"], end=options["end"], words=options["words"]
        )
        if not features.steps:
            raise ClipError(f"`{path}` has nothing that the run reads.")
        return made_score(clip=path.name, quality=features.quality)


@pytest.fixture
def scorer(monkeypatch) -> Scorer:
    made = Scorer()
    monkeypatch.setattr(scoring, "ClipScorer", SimpleNamespace(load=lambda run, **options: made))
    return made


@pytest.fixture
def qinn(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    return write_clip(folder / "good.mp4", gray(range(0, 200, 20)), voice(1.0, 140), fps=10)


def test_a_clip_is_told_in_words(scorer, qinn, clip):
    code, out, err = qinn("score", clip, "--run", "r", "--words", "a b", "--begin", 0.1, "--end", 0.9)
    assert code == 0, err
    assert "good.mp4 (2.3 s): score +0.84" in out
    assert "Words that do most" in out
    assert "warning: There is a face in 66% of the pictures." in err
    assert "Intervals of level 0.9" in err
    assert scorer.asked[0]["words"] == ["a", "b"]
    assert (scorer.asked[0]["begin"], scorer.asked[0]["end"]) == (0.1, 0.9)


def test_a_clip_is_json_and_a_page(scorer, qinn, clip, tmp_path):
    (tmp_path / "said.txt").write_text("what is\nsaid", "utf-8")
    code, out, err = qinn(
        "score", clip, "--run", "r", "--text", "said.txt", "--json", "--page", "p.html", "--to", "s.json"
    )
    assert code == 0, err
    assert ClipScore.from_json(json.loads(out)).clip == "good.mp4"
    assert json.loads(Path("s.json").read_text()) == json.loads(out)
    assert "<!doctype html>" in Path("p.html").read_text("utf-8")
    assert scorer.asked[0]["words"] == ["what", "is", "said"]
    # What it made it replaces, what it did not it leaves.
    assert qinn("score", clip, "--run", "r", "--to", "s.json")[0] == 0
    Path("s.json").write_text("mine")
    code, _, err = qinn("score", clip, "--run", "r", "--to", "s.json")
    assert code == 2
    assert "was not made by `qinn score`" in err
    assert Path("s.json").read_text() == "mine"


def test_many_clips_are_rows_and_a_failed_one_is_a_row_with_its_reason(scorer, qinn, clip):
    Path("no.mp4").write_text("no film")
    code, out, err = qinn("score", clip, "no.mp4", "--run", "r", "--to", "rows.csv", "--page", "pages")
    assert code == 1
    assert out == ""
    assert "not scored: `no.mp4` is no clip that can be read" in err
    rows = list(csv.DictReader(io.StringIO(Path("rows.csv").read_text())))
    assert [row["id"] for row in rows] == ["good", "no"]
    assert rows[0]["score"] == "0.84"
    assert rows[0]["reason"] == ""
    assert rows[1]["score"] == ""
    assert "no clip that can be read" in rows[1]["reason"]
    assert [path.name for path in Path("pages").iterdir()] == ["good.html"]
    code, out, _ = qinn("score", clip, "no.mp4", "--run", "r", "--json")
    assert code == 1
    assert [one["score"] is None for one in json.loads(out)] == [False, True]
    code, _, err = qinn("score", clip, "no.mp4", "--run", "r", "--fail-fast")
    assert code == 2
    code, _, err = qinn("score", "no.mp4", clip.with_name("gone.mp4"), "--run", "r")
    assert code == 2


def test_a_table_says_what_is_said_and_where_a_clip_is_cut(scorer, qinn, clip):
    Path("t.csv").write_text(f"id,file,begin,end,said\na,{clip},0,0.5,so good\nb,{clip},0.5,1,so bad\n")
    code, out, err = qinn("score", "t.csv", "--run", "r", "--text-column", "said")
    assert code == 0, err
    assert [line.split("\t")[0] for line in out.splitlines()] == ["id", "a", "b"]
    assert [one["words"] for one in scorer.asked] == [("so", "good"), ("so", "bad")]
    assert [one["begin"] for one in scorer.asked] == [0.0, 0.5]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--words", "a", "--text", "t.txt"], "both say what is said"),
        (["--text", "gone.txt"], "`gone.txt` cannot be read as a transcript"),
        (["--text", "bytes.txt"], "it is no UTF-8 text"),
        (["--to", "s.xlsx"], "can be written to .csv, .parquet or .json"),
        (["--begin", "-1"], "begin"),
        (["--begin", "0.5", "--end", "0.2"], "Option `--end` must lie behind `begin`"),
        (["--words", "caf\udce9"], "`words` must be a text, but has bytes that are no UTF-8"),
        (["--begin", "7"], "good.mp4"),
        (["--page", "/proc/nowhere/p.html"], "p.html"),
    ],
)
def test_options_that_make_no_sense_are_refused(scorer, qinn, clip, arguments, words):
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00")
    Path("t.txt").write_text("a")
    code, out, err = qinn("score", clip, "--run", "r", *arguments)
    assert code == 2
    assert out == ""
    assert words in err
    assert sorted(path.name for path in Path().iterdir()) == ["bytes.txt", "t.txt"]


def test_options_of_one_clip_are_refused_of_several(scorer, qinn, clip):
    other = Path("other.mp4")
    other.write_bytes(clip.read_bytes())
    for arguments in (["--words", "a"], ["--begin", "1"], ["--page", "p.html"]):
        code, _, err = qinn("score", clip, other, "--run", "r", *arguments)
        assert code == 2
        assert "name a " in err


def photograph(folder: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (64, 48)).save(folder / "photo.jpg")
    return folder / "photo.jpg"


def photograph_as_film(folder: Path) -> Path:
    return photograph(folder).rename(folder / "photo.mp4")


def written(name: str, content: bytes):
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def of_clip(name: str, change):
    def make(folder: Path) -> Path:
        whole = write_clip(folder / "whole.mp4", gray(range(0, 200, 20)), voice(1.0, 140), fps=10)
        content = change(whole.read_bytes())
        whole.unlink()
        (folder / name).write_bytes(content)
        return folder / name

    return make


def two_hours(folder: Path) -> Path:
    return write_clip(folder / "long.mkv", gray([0, 9]), times=[0, 7200.0])


def zero_seconds(folder: Path) -> Path:
    return write_clip(folder / "zero.wav", sound=np.zeros(4, np.float32), audio="pcm_s16le")


def too_large(folder: Path) -> Path:
    return write_clip(folder / "bomb.mp4", [np.zeros((2400, 4200, 3), np.uint8)])


def many_channels(folder: Path) -> Path:
    count, channels = 64, 24
    data = np.zeros((count, channels), "<i2").tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH",
        b"RIFF",
        36 + len(data),
        b"WAVE",
        b"fmt ",
        16,
        1,
        channels,
        16000,
        16000 * 2 * channels,
        2 * channels,
        16,
    )
    (folder / "channels.wav").write_bytes(head + struct.pack("<4sI", b"data", len(data)) + data)
    return folder / "channels.wav"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


def dangling(folder: Path) -> Path:
    (folder / "link.mp4").symlink_to(folder / "gone.mp4")
    return folder / "link.mp4"


def to_device(folder: Path) -> Path:
    (folder / "zero.mp4").symlink_to("/dev/zero")
    return folder / "zero.mp4"


def folder_as_film(folder: Path) -> Path:
    (folder / "folder.mp4").mkdir()
    return folder / "folder.mp4"


def odd_name(folder: Path) -> Path:
    path = folder / "a\x1b[31m\n\u202eb.mp4"
    path.write_bytes(b"no film")
    return path


def not_utf8(folder: Path) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.mp4"))
    path.write_bytes(b"no film")
    return path


REFUSED = {
    "photograph": photograph,
    "photograph called a film": photograph_as_film,
    "two hours": two_hours,
    "no duration": zero_seconds,
    "too many pixels": too_large,
    "too many channels": many_channels,
    "missing": lambda folder: folder / "missing.mp4",
    "empty": written("empty.mp4", b""),
    "one byte": written("one.mp4", b"\0"),
    "random bytes": written("random.mp4", np.random.default_rng(0).bytes(4096)),
    "text": written("text.mp4", b"no film"),
    "html": written("page.mp4", b"<!doctype html><html>not found</html>"),
    "pdf": written("paper.mp4", b"%PDF-1.7\n" + b"x" * 500),
    "program": written("run.mp4", b"\x7fELF" + b"\0" * 500),
    "playlist": written("list.mp4", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"),
    "playlist of files": written("list.ts", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"),
    "concatenation": written("cat.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"),
    "sdp": written("s.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 9 RTP/AVP 96\n"),
    "subtitles": written("sub.srt", b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"),
    "archive": written("a.mp4", b"PK\x03\x04" + b"\0" * 500),
    "truncated": of_clip("cut.mp4", lambda content: content[: len(content) // 2]),
    "only its beginning": of_clip("begin.mp4", lambda content: content[:60]),
    "only its end": of_clip("end.mp4", lambda content: content[-200:]),
    "without its index": of_clip("moov.mp4", lambda content: content.replace(b"moov", b"xxxx")),
    "a pipe": pipe,
    "a link to nowhere": dangling,
    "a link to a device": to_device,
    "a device": lambda folder: Path("/dev/zero"),
    "a folder": folder_as_film,
    "a name with control characters": odd_name,
    "a name that is no UTF-8": not_utf8,
    "a name that is too long": lambda folder: folder / ("a" * 300 + ".mp4"),
    "an empty table": written("t.csv", b""),
    "a table of nothing": written("rows.csv", b"file\n"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_clip_is_refused_in_a_sentence_and_leaves_nothing_behind(case, scorer, qinn, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    given = REFUSED[case](inside)
    before = sorted(os.fsencode(path) for path in inside.rglob("*"))
    out = tmp_path / "out"
    out.mkdir()
    code, said, err = qinn("score", given, "--run", "r", "--to", out / "s.json", "--page", out / "p.html")
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2, err
    assert said == ""
    assert lines[0].startswith("error: ")
    assert all(line.startswith("  ") for line in lines[1:])
    assert "Traceback" not in err
    assert not set("\x1b\u202e") & set(err)
    assert "mistake of qinn" not in err
    assert list(out.iterdir()) == []
    assert sorted(os.fsencode(path) for path in inside.rglob("*")) == before


def test_a_clip_whose_name_is_no_utf8_is_scored_like_any_other(scorer, qinn, clip, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")
    Path(path).write_bytes(clip.read_bytes())
    code, _, err = qinn("score", path, "--run", "r", "--to", "s.json", "--page", "p.html")
    assert code == 0, err
    assert Path("s.json").is_file()
    assert Path("p.html").is_file()
    # Nor is it written over.
    table = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.json")
    Path(table).write_bytes(clip.read_bytes())
    Path("link.json").symlink_to(table)
    code, _, err = qinn("score", table, "--run", "r", "--to", "link.json", "--overwrite")
    assert code == 2, err
    assert Path(table).read_bytes() == clip.read_bytes()


def test_an_input_that_no_file_can_be_is_left_to_its_reader(tmp_path):
    assert not check_destination(tmp_path / "s.csv", marked("a", "b"), inputs=["a\0.mp4"]).replaces
    assert check_folder(tmp_path / "pages", inputs=["a\0.mp4"]).name == "pages"


def test_a_link_to_a_clip_is_the_clip_and_a_wrong_suffix_changes_nothing(scorer, qinn, clip, tmp_path):
    (tmp_path / "link.mp4").symlink_to(clip)
    (tmp_path / "film.txt").write_bytes(clip.read_bytes())
    for name in ("link.mp4", "film.txt"):
        code, _, err = qinn("score", name, "--run", "r")
        assert code == 0, err

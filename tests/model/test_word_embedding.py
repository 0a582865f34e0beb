"""Word ids become learned vectors, in models that pool and in models that follow the stream."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from qinn.errors import ArgumentError, ConfigError
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.model.encoders import Encoder, WordEmbedding
from qinn.model.standardization import set_training_statistics
from qinn.records import Batch, Features
from qinn.testing import check_model

from ..tiny import QINN, TRAINING

STREAM = {"kind": "qinn", "dynamics": "collisions", "evolution": "exact", "memory_dim": 2, "state_dims": 2}
MODELS = {
    "pooled": QINN,
    "collisions": STREAM,
    "no by-pass": {**STREAM, "by_pass": False},
    "unitary": {**STREAM, "evolution": "unitary"},
    "gru": {"kind": "gru_stream", "memory_dim": 3},
    "lstm": {"kind": "lstm_stream", "memory_dim": 3},
    "text only": {"kind": "unimodal", "modality": "text"},
}


def words(lengths: tuple[int, ...], *, dim: int = 4, num_words: int = 5) -> Features:
    generator = torch.Generator().manual_seed(0)
    steps = torch.tensor(lengths)
    time = max(1, *lengths)
    values = torch.randn(len(lengths), time, dim, generator=generator)
    values[..., 0] = torch.randint(0, num_words + 1, (len(lengths), time), generator=generator).float()
    return Features(values * (torch.arange(time) < steps[:, None])[..., None], steps)


def build(model: dict[str, Any], *, num_words: dict[str, int] | None = None, **encoder: Any) -> nn.Module:
    return build_model(
        MODEL_CONFIGS[model["kind"]].model_validate(model),
        EncoderConfig.model_validate(
            {
                "kind": "embedding",
                "embedding_dim": 3,
                "hidden_dim": 4,
                "step_dim": 3,
                "dropout": 0.0,
                **encoder,
            }
        ),
        feature_dims={"text": 4},
        sequences={"text": True},
        num_outputs=1,
        seed=0,
        num_words={"text": 5} if num_words is None else num_words,
    )


@pytest.mark.parametrize("name", MODELS)
def test_models_that_read_words_keep_the_laws(name: str) -> None:
    batch = Batch(("a", "b", "c", "d"), {"text": words((3, 1, 0, 4))})
    check_model(lambda: build(MODELS[name]), batch, num_outputs=1)


def test_a_word_has_its_vector_and_the_other_features_their_scale() -> None:
    embedding = WordEmbedding(4, num_words=5, embedding_dim=3)
    embedding.standardizer.set_statistics(torch.tensor([9.0, 1, 2, 3]), torch.tensor([9.0, 2, 2, 2]))
    features = words((2, 1))
    found = embedding(features)
    for row, step in ((0, 0), (0, 1), (1, 0)):
        given = features.values[row, step]
        torch.testing.assert_close(found[row, step, :3], embedding.vectors.weight[int(given[0])])
        torch.testing.assert_close(found[row, step, 3:], (given[1:] - torch.tensor([1.0, 2, 3])) / 2)
    assert not found[1, 1].any()


def test_words_that_training_never_saw_say_next_to_nothing() -> None:
    weight = WordEmbedding(1, num_words=500, embedding_dim=8).vectors.weight.detach()
    assert 0.05 < float(weight.std()) < 0.15


@pytest.mark.parametrize("wrong", [6.0, -1.0])
def test_ids_beyond_the_vocabulary_are_refused(wrong: float) -> None:
    features = words((2, 1))
    features.values[0, 0, 0] = wrong
    with pytest.raises(ArgumentError, match="must have word ids from 0 to 5 in the first column"):
        WordEmbedding(4, num_words=5, embedding_dim=3)(features)


def test_training_statistics_reach_the_lexicons_columns() -> None:
    model = build(MODELS["collisions"])
    mean, deviation = torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 2, 4, 8])
    set_training_statistics(model, {"text": (mean, deviation)}, torch.tensor([0.0, 1.0]))
    found = model.encoders["text"].embedding.standardizer
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(found.scale, 1 / deviation)


def test_kind_and_words_go_together() -> None:
    with pytest.raises(ConfigError, match="reads word ids, but modality `text` holds none"):
        build(QINN, num_words={})
    with pytest.raises(
        ConfigError, match=r"`embedding` alone .* write `encoder: \{kind: \{text: embedding\}\}`"
    ):
        build(QINN, kind="attention")
    with pytest.raises(ArgumentError, match="`embedding` must be given exactly where `kind` is `embedding`"):
        Encoder(4, 4, kind="embedding", sequence=True, dropout=0.0)


@pytest.mark.slow
def test_a_run_on_words_learns_them_and_predicts_new_texts_with_the_same_vocabulary_only(
    tmp_path: Path,
) -> None:
    from qinn.data.importing import TableOptions, TaskOptions, import_data
    from qinn.errors import CheckpointError
    from qinn.experiment.config import parse_config
    from qinn.experiment.evaluation import evaluate_run
    from qinn.experiment.prediction import predict_store
    from qinn.experiment.run import run
    from qinn.experiment.text_encoders import load_encoder

    texts = ["good film", "bad film", "not good", "not bad at all", "the film", "good good"]
    rows = [
        f"s{row},{row % 7 - 3},{('train', 'valid', 'test')[row % 3]},{texts[row % 6]}" for row in range(30)
    ]
    (tmp_path / "t.csv").write_text("id,label,split,text\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "new.csv").write_text("id,label,text\nn,0,a good song\n", encoding="utf-8")
    given = {"task": TaskOptions(scale="mosi"), "text_column": "text"}
    import_data(
        tmp_path / "t.csv",
        tmp_path / "store",
        TableOptions(split_column="split", **given),
        encoder=load_encoder("words"),
    )
    content = {
        "name": "words",
        "data": {"store": str(tmp_path / "store")},
        "encoder": {"kind": {"text": "embedding"}, "hidden_dim": 4, "step_dim": 4},
        "models": {"collisions": STREAM},
        "training": TRAINING,
        "evaluation": {"num_resamples": 100},
    }
    done = run(parse_config(content, "words"), tmp_path / "run").path
    difference = evaluate_run(done).largest_difference
    assert difference is not None
    assert difference < 1e-6
    for name in (f"words:{tmp_path / 'store'}", "words"):
        import_data(
            tmp_path / "new.csv", tmp_path / name[:6], TableOptions(**given), encoder=load_encoder(name)
        )
    assert len(predict_store(done, tmp_path / "words:")) == 1
    with pytest.raises(CheckpointError, match=r"features of tier 'words-.*has 'words-3@"):
        predict_store(done, tmp_path / "words")

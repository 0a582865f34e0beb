"""What made a run's texts is known by the bytes of its weights, and loaded only where it is needed."""

import pytest

from qinn.data.importing.transcripts import TextOptions
from qinn.errors import ConfigError
from qinn.experiment import text_encoders
from qinn.experiment.text_encoders import encoder_of_tier
from qinn.features.text import load_text_encoder, tier_of_text_encoder

from ..tiny_transformer import write_tiny_transformer


@pytest.fixture(scope="module")
def name(tmp_path_factory) -> str:
    return f"folder:{write_tiny_transformer(tmp_path_factory.mktemp('tiny') / 'tiny')}"


@pytest.mark.parametrize("embeddings", ["", "/embeddings"])
def test_the_tier_is_that_of_what_is_loaded(name, embeddings):
    assert tier_of_text_encoder(name + embeddings) == load_text_encoder(name + embeddings).tier


def test_weights_of_the_hub_are_not_known_before_they_are_loaded():
    assert tier_of_text_encoder("hub:some/model") is None


@pytest.mark.parametrize("unit", ["tokens", "words"])
def test_weights_that_lie_here_are_loaded_once_and_when_they_are_asked_for(name, unit, monkeypatch):
    loaded: list[str] = []
    options = TextOptions(unit=unit)
    whole = load_text_encoder(name)
    monkeypatch.setattr(
        text_encoders, "load_text_encoder", lambda name: loaded.append(name) or load_text_encoder(name)
    )
    load, found = encoder_of_tier(options.tier_of(whole.tier), named=name)
    assert (loaded, found) == ([], options)
    assert load().tier == whole.tier
    assert load() is load()
    assert loaded == [name]


def test_other_weights_are_refused_before_they_are_loaded(name, tmp_path, monkeypatch):
    monkeypatch.setattr(text_encoders, "load_text_encoder", lambda name: pytest.fail("loaded"))
    tier = TextOptions().tier_of(tier_of_text_encoder(name) or "")
    other = write_tiny_transformer(tmp_path / "tiny", seed=1)
    with pytest.raises(
        ConfigError, match=r"The run reads text features made by `tiny@.*what is installed makes"
    ):
        encoder_of_tier(tier, named=f"folder:{other}")
    (other / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"Run `a` reads text features made by .* has no config\.json"):
        encoder_of_tier(tier, named=f"folder:{other}", owner="Run `a`")

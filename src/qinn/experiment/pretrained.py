"""Pretrained transformers of an experiment: loaded for training, built again for prediction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from qinn.data.stores.manifest import Modality
from qinn.errors import CheckpointError, ConfigError
from qinn.experiment.build import encoder_kinds
from qinn.experiment.encoder_config import EncoderConfig, line_of_kinds
from qinn.experiment.model_configs import ConstantConfig, LinearConfig, UnimodalConfig
from qinn.results.files import json_of, write_json
from qinn.results.folder import RunFolder

__all__ = ["load_transformers", "read_architectures", "write_architectures"]


def load_transformers(
    model: Any, encoder: EncoderConfig, modalities: Mapping[str, Modality]
) -> dict[str, nn.Module]:
    """Load the pretrained transformers that a model needs.

    Args:
        model: Configuration of the model.
        encoder: Configuration of its encoders.
        modalities: The data's modalities, as they reach the model.

    Returns:
        Modality → transformer with its pretrained weights.

    Raises:
        ConfigError: If a transformer is not available here (the message says what is), or a modality does not
            hold the token ids that it reads, or token ids are given to another kind of encoder.
    """
    if isinstance(model, (ConstantConfig, LinearConfig)):
        return {}
    used = [name for name in modalities if not isinstance(model, UnimodalConfig) or name == model.modality]
    kinds = encoder_kinds(encoder, used)
    for name in used:
        if modalities[name].tokenizer is not None and kinds[name] != "transformer":
            raise ConfigError(
                f"Modality `{name}` holds token ids of `{modalities[name].tokenizer}`, which an encoder of kind "
                f"`{kinds[name]}` cannot read; write {line_of_kinds({**kinds, name: 'transformer'})}, and which one "
                "it is under `encoder.transformer`."
            )
    wanted = [name for name in used if kinds[name] == "transformer"]
    if not wanted:
        return {}
    assert encoder.transformer is not None  # checked by the configuration
    from qinn.features.text import load_text_encoder

    loaded = load_text_encoder(encoder.transformer.model)
    transformer: nn.Module = loaded.model
    for name in wanted:
        tokenizer = modalities[name].tokenizer
        if tokenizer is None:
            raise ConfigError(
                f"An encoder of kind `transformer` reads token ids, but `{name}` holds "
                f"`{modalities[name].tier or 'features of no stated tier'}`; import the texts with "
                f"`--encode-text {encoder.transformer.model} --text-unit ids`."
            )
        if tokenizer != loaded.tier:
            raise ConfigError(
                f"Modality `{name}` holds token ids of `{tokenizer}`, but `encoder.transformer.model` is "
                f"`{loaded.tier}`; name the model that the texts were imported with."
            )
    return dict.fromkeys(wanted, transformer)


def write_architectures(path: Path, transformers: Mapping[str, nn.Module]) -> None:
    """Write the architecture of each modality's transformer as JSON, so that its run needs no weights but its own."""
    from qinn.features.architecture import architecture_of

    write_json(path, {name: architecture_of(transformer) for name, transformer in transformers.items()})


def read_architectures(run: RunFolder) -> dict[str, nn.Module]:
    """Build the transformers of a run, with weights that its checkpoint will replace.

    Raises:
        CheckpointError: If the file is missing, damaged or not of this run.
        ConfigError: If the transformers library is missing or does not know an architecture.
    """
    from qinn.features.architecture import build_architecture

    path = run.architectures_file
    content = json_of(run.content(path), path)
    if not isinstance(content, dict) or not all(isinstance(value, dict) for value in content.values()):
        raise CheckpointError(
            f"`{path}` does not describe transformers; the run folder is damaged, repeat the run."
        )
    return {name: build_architecture(value) for name, value in content.items()}

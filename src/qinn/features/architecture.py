"""A transformer's architecture as plain values, from which it is built again without its pretrained weights."""

import json
from collections.abc import Mapping
from typing import Any

from qinn.errors import ConfigError
from qinn.extras import needs

__all__ = ["architecture_of", "build_architecture"]


def architecture_of(model: Any) -> dict[str, object]:
    """Return the architecture of a transformer, as JSON values that `build_architecture` takes.

    Args:
        model: A model of the transformers library.
    """
    return json.loads(model.config.to_json_string(use_diff=False))


def build_architecture(architecture: Mapping[str, object]) -> Any:
    """Build a transformer with freshly drawn weights, to be replaced by those of a checkpoint.

    Neither a wheel nor a hub is asked for anything, and no code of a model's author is run.

    Args:
        architecture: From `architecture_of`.

    Returns:
        A model of the transformers library, in evaluation mode.

    Raises:
        ConfigError: If the library has no such architecture.
        MissingPackageError: If the library is not installed.

    Examples:
        >>> build_architecture({"model_type": "typewriter"})
        Traceback (most recent call last):
        ...
        qinn.errors.ConfigError: ...`typewriter`...
    """
    kind = architecture.get("model_type")
    with needs("text", f"A model with a transformer of kind `{kind}`"):
        from huggingface_hub.errors import StrictDataclassError
        from transformers import AutoConfig, AutoModel
    stated = {name: value for name, value in architecture.items() if name not in ("auto_map", "model_type")}
    try:
        config = AutoConfig.for_model(str(kind), **stated)
        return AutoModel.from_config(config, trust_remote_code=False).eval()
    except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ConfigError(
            f"The transformers library cannot build the architecture `{kind}`; update it, or check the file that "
            "names it."
        ) from error

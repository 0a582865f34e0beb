"""Write docs/configuration.md from the models that check a configuration.

python docs/make_configuration.py

The key's types, bounds and descriptions stand in `qinn.experiment.config` and `.model_configs`, those of
the training in `qinn.training.options`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from qinn.experiment.config import DataConfig, EvaluationConfig, ExperimentConfig, TrainingConfig
from qinn.experiment.encoder_config import EncoderConfig, TransformerConfig
from qinn.experiment.model_configs import MODEL_CONFIGS, ModelConfig
from qinn.experiment.tuning_config import Range, TuneConfig

PAGE = Path(__file__).resolve().parent / "configuration.md"
HEAD = """# Every key of a configuration

One YAML file says what `qinn train` and `qinn compare` do. Each key is here, with what it takes, what it is if you
leave it out (where that is –, the last column says what happens), and what it does. A dot stands for a level of the
file: `data.store` is the key `store` below `data`, and `LABEL` is a name that you give to a model. A key that is not
here is refused, and the message names the nearest one that is; so is a number out of its bounds.

This page is made from the code that checks the file, by `python docs/make_configuration.py`: `config.py`,
`encoder_config.py` and `model_configs.py` in `src/qinn/experiment`, and `src/qinn/training/options.py`.

```yaml
name: mine
data: {store: stores/mine, modalities: [text, audio]}
encoder: {kind: attention, hidden_dim: 48}
models:
  QiNN-QJ: {kind: qinn, state_dims: {text: 8, audio: 4}}
  text only: {kind: unimodal, modality: text, training: {learning_rate: 0.001}}
training: {max_epochs: 30}
seeds: [0, 1, 2]
```

## Values by rule

Two keys can be `auto`. It is resolved before anything is trained, and the run's `config.yaml` has what came of it.

- `training.weight_decay: auto`: 1 / (`learning_rate` × steps), with steps = `max_epochs` × ⌈samples / `batch_size`⌉,
  from 0.001 to 10. By the end of a training that does not stop early, weights that nothing renews have lost two
  fifths of their size, on 200 samples (3.1) as on 16,000 (0.05); a fixed number does next to nothing on small sets
  and much on large ones. It is not the default: 0.01 is.
- `training.refit: auto`, the default: true for `kind: linear`, of which validation samples choose nothing, and false
  for models that are trained.

Measured by `benchmarks/training_defaults.py`, which no test sample enters
([rows](../benchmarks/results/training_defaults.json)): the loss on samples held out of training and validation, of
the README's QiNN-QJ and of concatenation on ICT-MMMO, MOSI's valid split and ICMI (128 to 297 training samples), one
division each. Against 0.01 a tenth of the rule's decay changed it by between −.019 and +.038, three tenths by between
−.027 and +.503, the rule by between −.014 and +.213, three times the rule by between −.016 and +.026 (the two largest
are fits that stopped early): no gain, and a risk. On the README's example the rule takes R² from 0.78 to 0.64. So
0.01 stays the default whatever the size, and `qinn tune` finds the weight decay of a data set. Training again on all
changed the loss by −.06 to +.00 on ICT-MMMO, by −.02 to +.23 on MOSI's valid split and by −.02 to +.03 on ICMI: there
is no rule from the size in it, so it is left off.
"""
SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("The file", "", ExperimentConfig),
    ("`data`: which samples", "data.", DataConfig),
    ("`encoder`: from features to one vector, the same for all models", "encoder.", EncoderConfig),
    ("`encoder.transformer`: fine-tuning", "encoder.transformer.", TransformerConfig),
    ("`training`: how every model is trained that does not say otherwise", "training.", TrainingConfig),
    ("`evaluation`: how results are stated", "evaluation.", EvaluationConfig),
    ("`tune`: what `qinn tune` searches", "tune.", TuneConfig),
    ("`tune.space.KEY`: a range, where it is no list of choices", "tune.space.KEY.", Range),
    ("`models`: what every trained model can be given", "models.LABEL.", ModelConfig),
)
MODELS = {
    "qinn": "QiNN-QJ, its ablations, and the collision model along a stream",
    "constant": "the training mean, or the training class frequencies",
    "linear": "ridge or logistic regression of the means over the steps",
    "unimodal": "one modality alone",
    "concatenation": "the encoders' vectors side by side",
    "late_fusion": "the sum of one score from each modality",
    "tensor_fusion": "the product of the encoders' vectors",
    "low_rank_fusion": "the same product with weights of low rank",
    "gru_stream": "a GRU along the stream",
    "lstm_stream": "an LSTM along the stream",
    "mult": "MulT, in which each modality attends to the steps of the others",
    "misa": "MISA, which tells what modalities share from what each has of its own",
    "self_mm": "Self-MM, in which each modality learns labels of its own; scores only",
    "almt": "ALMT, in which language asks the other modalities",
}
_NUMBERS = {int: "a whole number", float: "a number"}
_WORDS = {
    str: "text",
    bool: "true or false",
    Path: "a path",
    dict: "a mapping of keys to values",
    Any: "keys, below",
}


@dataclass(frozen=True)
class Key:
    """One key, as the page states it."""

    path: str
    takes: str
    default: str
    description: str


KIND = Key(
    "models.LABEL.kind", ", ".join(f"`{kind}`" for kind in MODELS), "must be given", "Which model this is"
)


def sections() -> Iterator[tuple[str, list[Key]]]:
    """Yield the page's sections: a heading and its keys."""
    for heading, prefix, model in SECTIONS:
        yield heading, [*([KIND] if model is ModelConfig else []), *keys_of(model, prefix)]
    common = {"kind", *ModelConfig.model_fields}
    for kind, model in MODEL_CONFIGS.items():
        own = [key for key in keys_of(model, "models.LABEL.") if key.path.rpartition(".")[2] not in common]
        yield f"`kind: {kind}`: {MODELS[kind]}", own


def keys_of(model: type[BaseModel], prefix: str) -> list[Key]:
    """Return the keys of a model of pydantic."""
    return [
        Key(
            prefix + name,
            takes(field),
            default_of(field),
            (field.description or "").strip(),
        )
        for name, field in model.model_fields.items()
    ]


def takes(field: FieldInfo) -> str:
    """Say what a key takes, with its bounds."""
    return "; or ".join(dict.fromkeys(_alternatives(field.annotation, field.metadata)))


def _alternatives(annotation: Any, metadata: Any = ()) -> Iterator[str]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [one for given in inner[1:] for one in getattr(given, "metadata", [given])]
        yield from _alternatives(inner[0], [*metadata, *bounds])
    elif origin in (Union, UnionType):
        for one in inner:
            if one is not NoneType:
                yield from _alternatives(one, metadata)
    elif origin is Literal:
        yield ", ".join(f"`{one}`" for one in inner)
    elif origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        yield f"a mapping from {_noun(inner[0])} to {' or '.join(_alternatives(inner[1]))}"
    elif origin in (tuple, list):
        yield "a list of names" if inner[0] is str else f"a list, each {' or '.join(_alternatives(inner[0]))}"
    elif annotation in _NUMBERS:
        yield _NUMBERS[annotation] + _bounds(metadata)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "keys of its own, below"
    else:
        yield _WORDS[annotation]


def _noun(annotation: Any) -> str:
    return "names" if annotation is str else str(annotation)


def _bounds(metadata: Any) -> str:
    least = next((one.ge for one in metadata if isinstance(one, Ge)), None)
    above = next((one.gt for one in metadata if isinstance(one, Gt)), None)
    most = next((one.le for one in metadata if isinstance(one, Le)), None)
    below = next((one.lt for one in metadata if isinstance(one, Lt)), None)
    if least is not None and most is not None:
        return f" from {number(least)} to {number(most)}"
    said = (("at least", least), ("above", above), ("at most", most), ("below", below))
    return "".join(
        f"{',' if index else ''} {word} {number(value)}"
        for index, (word, value) in enumerate((word, value) for word, value in said if value is not None)
    )


def number(value: float) -> str:
    """Return a number as people read it."""
    if isinstance(value, float) and value >= 1e9:
        mantissa, _, exponent = f"{value:.0e}".partition("e+")
        return f"{'' if mantissa == '1' else mantissa + '·'}10^{int(exponent)}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:g}".replace("e-0", "e-")


def default_of(field: FieldInfo) -> str:
    """Return the default as YAML writes it; where a key must be given, that it must."""
    if field.is_required():
        return "must be given"
    return _yaml(field.get_default(call_default_factory=True, validated_data={}))


def _yaml(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "the defaults below"
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    return number(value) if isinstance(value, int | float) else "{}" if value == {} else f"`{value}`"


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for heading, keys in sections():
        parts.append(f"## {heading}\n")
        if not keys:
            parts.append("No keys of its own.\n")
            continue
        rows = [f"| `{one.path}` | {one.takes} | {one.default} | {one.description} |" for one in keys]
        parts.append(
            "\n".join(["| key | takes | default | what it does |", "|---|---|---|---|", *rows]) + "\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

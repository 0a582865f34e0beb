"""YAML of configurations: read safely, each key once, and without texts that unfold to more than they are."""

import re
from pathlib import Path
from typing import Any

import yaml

from qinn.errors import ConfigError
from qinn.file_kinds import other_kind
from qinn.opening import read_small

_MOST_BYTES = 2**20
_MOST_NODES = 100_000
_LONGEST_KEY = 1024


def read_yaml(path: Path) -> object:
    """Read a small YAML file in which no key is given twice.

    Raises:
        ConfigError: If it is missing, no regular file, too large or no YAML, or its aliases unfold to too much.
    """
    try:
        text = read_small(path, _MOST_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"Configuration `{path}` does not exist; give the path of a YAML file.") from None
    except OSError as error:
        raise ConfigError(f"Cannot read configuration `{path}`: {error.strerror or error}.") from error
    if (other := other_kind(path, ("text", "empty"))) is not None:
        raise ConfigError(f"Configuration `{path}` is no YAML but {other}.")
    return yaml_of(text, path)


def yaml_of(text: bytes, path: Path) -> object:
    """Read the bytes of a YAML file in which no key is given twice.

    Args:
        text: What was read.
        path: Where it was read, for messages.

    Raises:
        ConfigError: If it is no YAML.
    """
    try:
        return yaml.load(text.decode("utf-8"), _Loader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"Cannot read configuration `{path}`: {error}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"Configuration `{path}` is not valid YAML{_reason(error)}.") from error
    # What PyYAML lets through for dates, numbers and depths that cannot be.
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"Configuration `{path}` is not valid YAML: {error}.") from error


def _reason(error: yaml.YAMLError) -> str:
    """Say where a text is no YAML, and why, as the end of a sentence."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return f": {getattr(error, 'reason', '') or 'it has characters that YAML does not allow'}"
    mark, start = error.problem_mark, error.context_mark
    line = f" (line {mark.line + 1})" if mark is not None else ""
    if isinstance(error, yaml.constructor.ConstructorError):
        return f"{line}: {error.problem}"
    # The parser forgets a key that is too long, and wonders at its colon or at what follows.
    apart = mark.index - start.index if mark is not None and start is not None else 0
    if (
        mark is not None
        and max(mark.column, apart if "simple key" in str(error.context) else 0) > _LONGEST_KEY
    ):
        return (
            f"{line}: {error.problem}; a key may have at most {_LONGEST_KEY:,} characters before its colon, so shorten "
            "long labels"
        )
    return f"{line}: {error.problem or 'it ends too early'}; mind indentation and colons"


class _Loader(yaml.SafeLoader):
    """A safe loader for which a key that is given twice is an error, and which counts what unfolds."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _unfolded(node, {}) > _MOST_NODES:
            raise yaml.constructor.ConstructorError(
                None, None, f"its aliases unfold to more than {_MOST_NODES:,} values", node.start_mark
            )
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise yaml.constructor.ConstructorError(
                None, None, f"the key `{twice}` is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _as_written(loader: Any, node: Any) -> Any:
    """Refuse the numbers that YAML 1.1 reads as others than they look: 1:30 as ninety, 010 as eight."""
    digits = node.value.lstrip("+-")
    if ":" in digits or (re.match("0[0-9_]", digits) and "." not in digits):
        made = yaml.SafeLoader.yaml_constructors[node.tag](loader, node)
        raise yaml.constructor.ConstructorError(
            None,
            None,
            f"YAML reads `{node.value[:60]}` as {made}; write the number that is meant",
            node.start_mark,
        )
    return yaml.SafeLoader.yaml_constructors[node.tag](loader, node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _as_written)


def _unfolded(node: Any, known: dict[int, float]) -> float:
    """Count the values below a node, those behind an alias at each of its places; infinite for one in itself."""
    if not isinstance(node.value, list):
        return 1.0
    if id(node) not in known:
        known[id(node)] = float("inf")
        inner = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
        known[id(node)] = 1.0 + sum(_unfolded(part, known) for part in inner)
    return known[id(node)]

"""YAML files read safely and strictly."""

from pathlib import Path
from typing import Any

import yaml

from qinn.errors import ConfigError


def read_yaml(path: Path) -> object:
    """Read a YAML file in which no key is given twice.

    Raises:
        ConfigError: If it is missing or no YAML.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"Configuration `{path}` does not exist; give the path of a YAML file.") from None
    except OSError as error:
        raise ConfigError(f"Cannot read configuration `{path}`: {error}.") from error
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
        content = yaml.load(text.decode("utf-8"), _Loader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"Cannot read configuration `{path}`: {error}.") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where is not None else ""
        built = (
            getattr(error, "problem", None) if isinstance(error, yaml.constructor.ConstructorError) else None
        )
        why = f": {built}" if built else "; mind indentation and colons"
        raise ConfigError(f"Configuration `{path}` is not valid YAML{line}{why}.") from error
    # What PyYAML lets through for dates, numbers and depths that cannot be.
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"Configuration `{path}` is not valid YAML: {error}.") from error
    return content


class _Loader(yaml.SafeLoader):
    """A safe loader for which a key that is given twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise yaml.constructor.ConstructorError(
                None, None, f"the key `{twice}` is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)

"""The page of all configuration keys is what the models make it, and no key is without a word of what it does."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from qinn.experiment.config import ExperimentConfig, parse_config
from qinn.experiment.docstring_options import stated_options
from qinn.experiment.model_configs import MODEL_CONFIGS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_configuration", DOCS / "make_configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "make_configuration", module)  # its dataclass looks its module up
        spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_models_make_it(maker):
    committed = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert committed == maker.page(), "run `python docs/make_configuration.py`"


def test_every_key_says_what_it_does(maker):
    keys = [key for _, keys in maker.sections() for key in keys]
    assert [key.path for key in keys if len(key.description.split()) < 2] == []
    assert len(keys) > 70
    assert not any("|" in part for key in keys for part in (key.takes, key.default, key.description))


def test_every_key_and_kind_is_on_the_page(maker):
    headings = dict(maker.sections())
    paths = {key.path for keys in headings.values() for key in keys}
    assert set(ExperimentConfig.model_fields) <= paths
    for kind, model in MODEL_CONFIGS.items():
        assert any(heading.startswith(f"`kind: {kind}`") for heading in headings)
        assert {f"models.LABEL.{name}" for name in model.model_fields} <= paths


def test_the_example_of_the_page_is_valid(maker):
    [example] = re.findall(r"```yaml\n(.*?)```", maker.HEAD, re.S)
    assert list(parse_config(yaml.safe_load(example), "page").models) == ["QiNN-QJ", "text only"]


def test_numbers_are_written_for_people(maker):
    numbers = [4294967295, 1e-8, 1000000.0, 0.15, 1e12, -1e3, 3e-5]
    assert [maker.number(one) for one in numbers] == [
        "4,294,967,295", "1e-8", "1,000,000", "0.15", "10^12", "-1,000", "3e-5",
    ]  # fmt: skip


class Above:
    """Something.

    Args:
        width: How wide ``"w"`` is (see `qinn.model`).
        depth: One thing
            and another.
    """


class Below(Above):
    """Something else.

    Attributes:
        width: How wide it is.

    Raises:
        Error: If not.
    """


def test_what_docstrings_say_is_taken_from_them():
    assert stated_options(Above) == {"width": "How wide `w` is", "depth": "One thing and another"}
    assert stated_options(Below) == {"width": "How wide it is", "depth": "One thing and another"}

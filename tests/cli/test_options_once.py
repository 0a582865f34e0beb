"""No option is taken twice without a word, unless it is one to repeat."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from qinn.cli.application import app
from qinn.data.stores.store import Store
from qinn.errors import ConfigError
from qinn.face import importing

from ..new_samples import pickled


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Go through all commands of the command line."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


EVERY = dict(commands(typer.main.get_command(app)))
LEFT_OUT = ("help",)


def typed(parameter: Any) -> list[str]:
    """Return an option as one types it."""
    return [parameter.opts[0], *([] if parameter.is_flag else ["1"] * parameter.nargs)]


def test_the_commands_of_all_groups_are_looked_at() -> None:
    assert {("train",), ("data", "import", "mmsa"), ("data", "split"), ("data", "verify")} <= set(EVERY)


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_option_of_one_value_is_refused_when_it_is_given_twice(path, capsys):
    command = EVERY[path]
    parameters = [
        one for one in command.params if one.param_type_name == "option" and one.name not in LEFT_OUT
    ]
    for parameter in parameters:
        arguments = 2 * typed(parameter)
        if parameter.multiple:
            command.make_parser(command.context_class(command)).parse_args(args=arguments)
            continue
        with pytest.raises(Exception, match=f"{parameter.opts[0]}.* is given twice; give it once") as refused:
            command.make_context(path[-1], arguments)
        assert refused.value.exit_code == 2, parameter


def test_a_flag_and_its_opposite_are_one_option() -> None:
    command = EVERY["data", "import", "table"]
    with pytest.raises(Exception, match="given 3 times"):
        command.make_context("table", ["--lowercase", "--lowercase", "--lowercase"])


def test_an_option_and_the_flag_that_turns_it_off_exclude_each_other(tmp_path):
    (tmp_path / "t.csv").write_text("id,y\na,1\n")
    with pytest.raises(ConfigError, match="`label_column` and `no_labels` exclude each other"):
        importing.import_data(
            tmp_path / "t.csv",
            tmp_path / "s",
            scale="mosi",
            label_column="y",
            no_labels=True,
            feature="a=b.npy",
        )


@pytest.mark.parametrize(
    ("layout", "options", "message"),
    [
        ("table", {"id_column": ["who", "who"]}, "`id_column` names `who` twice"),
        ("table", {"extra_column": ["a", "a"]}, "`extra_column` names `a` twice"),
        ("mmsa", {"modality": ["audio", "audio"]}, "`modality` names `audio` twice"),
        ("csd", {"pause": ["sp", "sp"]}, "`pause` names `sp` twice"),
    ],
)
def test_an_option_to_repeat_takes_each_value_once(layout, options, message, tmp_path):
    (tmp_path / "t.csv").write_text("id,y\na,1\n")
    with pytest.raises(ConfigError, match=message):
        importing.import_data(tmp_path / "t.csv", tmp_path / "s", layout, **options)


def test_an_option_of_nought_is_given(tmp_path: Path, capsys: Any) -> None:
    """What is 0 was once taken for what was not typed: the first of several labels could not be chosen."""
    labels = np.array([[0.5, 2.0], [-1.0, 3.0]])[:, :, None]
    steps = np.ones((2, 3, 2))
    part = {"audio": steps, "vision": steps, "text": steps, "labels": labels}
    source = pickled(tmp_path / "m.pkl", {"train": part})
    command = EVERY["data", "import", "mult"]
    typed = [str(source), "--to", str(tmp_path / "s"), "--label-index", "0"]
    command.main(typed, standalone_mode=False)
    assert Store.open(tmp_path / "s").labels.tolist() == [0.5, -1.0]
    several = ["--task", "multilabel", "--labels", "a,b", "--threshold", "0", "--overwrite"]
    with pytest.raises(ConfigError, match="between 0 and 1, but it is 0"):
        command.main([*typed[:3], *several], standalone_mode=False)

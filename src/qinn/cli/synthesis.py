"""The command that makes sets with a known answer: `qinn data synthesize`. Imported when it is asked for."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from qinn.cli.output import JsonOption, echo, note, print_json, progress_bar
from qinn.cli.stated_commands import given_of, with_options
from qinn.data.synthetic.answers import in_words
from qinn.data.synthetic.clips.clip_set import ClipsSpec, write_clips
from qinn.data.synthetic.clips.clip_set import known_answer as known_clips
from qinn.data.synthetic.known_answer_set import SyntheticSpec, known_answer, write_synthetic_store
from qinn.data.synthetic.modulo import ModuloSpec
from qinn.data.synthetic.shifters import ShiftersSpec
from qinn.data.synthetic.streams import write_stream_store
from qinn.data.synthetic.valence import ValenceSpec
from qinn.errors import ArgumentError
from qinn.stated_options import Option, made, options_of

_SPECS: dict[str, Any] = {
    "product": SyntheticSpec,
    "shifters": ShiftersSpec,
    "modulo": ModuloSpec,
    "valence": ValenceSpec,
    "clips": ClipsSpec,
}
_STREAMS = ("shifters", "modulo", "valence")


def _tasks_with() -> dict[str, dict[str, Option]]:
    """Name of each option → the tasks that have it, and what it is there."""
    found: dict[str, dict[str, Option]] = {}
    for task, spec in _SPECS.items():
        for one in options_of(spec):
            found.setdefault(one.name, {})[task] = one
    return found


def _options() -> Iterator[Option]:
    """Go through the options of all tasks, whose help says which have it and what it is there by default."""
    for tasks in _tasks_with().values():
        one = next(iter(tasks.values()))
        text, streams = one.help, [task for task in tasks if task in _STREAMS]
        if len(tasks) < len(_SPECS):
            whose = "Streams" if len(streams) > 1 else next(iter(tasks))
            text = f"{whose}: {text[0].lower()}{text[1:]}"
        groups = {
            "product": tasks.get("product"),
            "streams": tasks[streams[0]] if streams else None,
            "clips": tasks.get("clips"),
        }
        defaults = {
            name: f"{one.default:g}" for name, one in groups.items() if one and _is_number(one.default)
        }
        if len(set(defaults.values())) == 1:
            text += f" (default: {next(iter(defaults.values()))})"
        elif defaults:
            text += f" (default: {', '.join(f'{name} {value}' for name, value in defaults.items())})"
        yield replace(one, help=text, default=None)


def _is_number(default: Any) -> bool:
    return isinstance(default, int | float) and not isinstance(default, bool)


@with_options(_options())
def synthesize(
    to: Annotated[
        Path, typer.Option(help="Folder of the store (clips: of the films and their table) to write.")
    ],
    task: Annotated[
        Literal["product", "shifters", "modulo", "valence", "clips"],
        typer.Option(
            help="product: a score of pooled latents; streams: shifters (words and tones set and turn a sentiment), "
            "modulo (a counter modulo 5 with resets), valence (graded words, negations, boosters, sarcasm); clips: "
            "films of drawn faces that say sentences, for `qinn features extract`."
        ),
    ] = "product",
    *,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a store, or films, that this command made.")
    ] = False,
    as_json: JsonOption = False,
    **typed: Any,
) -> None:
    """Write a synthetic set, and print the best scores that any model can reach on it."""
    chosen = given_of(typed)
    _refuse_options_of_others(task, chosen)
    spec = made(_SPECS[task], chosen)
    if task == "product":
        write_synthetic_store(to, spec, overwrite=overwrite)
        answer = asdict(known_answer(spec))
    elif task == "clips":
        with progress_bar("films") as told:
            to = write_clips(to, spec, overwrite=overwrite, progress=lambda done, total, _: told(done, total))
        answer = asdict(known_clips(spec))
    else:
        answer = asdict(write_stream_store(to, spec, overwrite=overwrite)[1])
    if as_json:
        print_json(answer)
        return
    note(f"wrote {to}")
    for line in in_words(answer):
        echo(line)


def _refuse_options_of_others(task: str, chosen: dict[str, Any]) -> None:
    known = _tasks_with()
    for name in chosen:
        if task not in known[name]:
            raise ArgumentError(
                f"Option `--{name.replace('_', '-')}` belongs to `--task {' | '.join(known[name])}`, but the task is "
                f"`{task}`; leave it out, or choose its task."
            )

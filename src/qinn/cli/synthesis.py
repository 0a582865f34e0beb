"""The command that makes sets with a known answer: `qinn data synthesize`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from qinn.cli.output import JsonOption, echo, note, print_json

SyntheticTask = Literal["product", "shifters", "modulo", "valence"]

_STREAMS = ("shifters", "modulo", "valence")
# Option → the tasks that have it; the others are refused.
_OWN_OPTIONS: dict[str, tuple[str, ...]] = {
    "absent_rate": ("product",),
    "classification": ("product",),
    "prototype_seed": _STREAMS,
    "min_length": _STREAMS,
    "max_length": _STREAMS,
    "absent_steps": _STREAMS,
    "single_set": ("shifters",),
    "asynchronous": ("shifters",),
    "expiry": ("shifters",),
}


def synthesize(
    to: Annotated[Path, typer.Option(help="Folder of the store to write.")],
    task: Annotated[
        SyntheticTask,
        typer.Option(
            help="product: a score of pooled latents; streams: shifters (words and tones set and turn a sentiment), "
            "modulo (a counter modulo 5 with resets), valence (graded words, negations, boosters, sarcasm)."
        ),
    ] = "product",
    num_train: Annotated[
        int | None,
        typer.Option(min=0, max=10**9, help="Training samples (default: product 2000, streams 10000)."),
    ] = None,
    num_valid: Annotated[
        int | None,
        typer.Option(min=0, max=10**9, help="Validation samples (default: product 400, streams 1000)."),
    ] = None,
    num_test: Annotated[
        int | None,
        typer.Option(min=0, max=10**9, help="Test samples (default: product 1000, streams 2000)."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed.")] = 0,
    absent_rate: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.99, help="product: rate of absent modalities (default: 0)."),
    ] = None,
    classification: Annotated[
        bool, typer.Option("--classification", help="product: predict the sign of the score.")
    ] = False,
    prototype_seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**32 - 1,
            help="Streams: seed of what events look like (default: the seed); models know one set of these.",
        ),
    ] = None,
    min_length: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Streams: fewest steps of a sample (default: 2).")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Streams: most steps of a sample (default: 20).")
    ] = None,
    absent_steps: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.99, help="Streams: rate of events that no model sees (default: 0)."),
    ] = None,
    single_set: Annotated[
        bool, typer.Option("--single-set", help="shifters: one SET at the first step, none later.")
    ] = False,
    asynchronous: Annotated[
        bool, typer.Option("--asynchronous", help="shifters: events of each modality at times of their own.")
    ] = False,
    expiry: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            max=1e6,
            help="shifters, asynchronous: seconds of silence after which the sentiment expires.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a store that this command made.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a synthetic set, and print the best scores that any model can reach on it."""
    from dataclasses import asdict

    given = {
        "num_train": num_train,
        "num_valid": num_valid,
        "num_test": num_test,
        "absent_rate": absent_rate,
        "classification": classification or None,
        "prototype_seed": prototype_seed,
        "min_length": min_length,
        "max_length": max_length,
        "absent_steps": absent_steps,
        "single_set": single_set or None,
        "asynchronous": asynchronous or None,
        "expiry": expiry,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    _refuse_options_of_others(task, chosen)
    answer = asdict(_written(to, task, {"seed": seed, **chosen}, overwrite))
    if as_json:
        print_json(answer)
        return
    note(f"wrote {to}")
    for line in _in_words(answer):
        echo(line)


def _in_words(answer: dict[str, Any]) -> list[str]:
    """One line for each number; what is not known has none."""
    errors = answer.get("standard_errors", {})
    lines = []
    for name, value in answer.items():
        if name == "standard_errors":
            continue
        numbers = (
            {f"{name} ({key})": number for key, number in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
        for key, number in numbers.items():
            if number is not None:
                shown = f"{number:.6g}" if isinstance(number, float) else str(number)
                error = f" ± {errors[name]:.1g}" if isinstance(errors.get(name), float) else ""
                lines.append(f"{key.replace('_', ' ')}: {shown}{error}")
    return lines


def _refuse_options_of_others(task: str, chosen: dict[str, Any]) -> None:
    from qinn.errors import ArgumentError

    for name in chosen:
        tasks = _OWN_OPTIONS.get(name, (task,))
        if task not in tasks:
            raise ArgumentError(
                f"Option `--{name.replace('_', '-')}` belongs to {_listed(tasks)}, but the task is `{task}`; leave it "
                "out, or choose its task."
            )


def _listed(tasks: tuple[str, ...]) -> str:
    return "`--task " + " | ".join(tasks) + "`"


def _written(to: Path, task: str, chosen: dict[str, Any], overwrite: bool) -> Any:
    """Write the store and return its known answer."""
    if task == "product":
        from qinn.data.synthetic.known_answer_set import SyntheticSpec, known_answer, write_synthetic_store

        kind = "classification" if chosen.pop("classification", False) else "regression"
        spec = SyntheticSpec(**chosen, kind=kind)
        write_synthetic_store(to, spec, overwrite=overwrite)
        return known_answer(spec)
    from qinn.data.synthetic.modulo import ModuloSpec
    from qinn.data.synthetic.shifters import ShiftersSpec
    from qinn.data.synthetic.streams import write_stream_store
    from qinn.data.synthetic.valence import ValenceSpec

    specs = {"shifters": ShiftersSpec, "modulo": ModuloSpec, "valence": ValenceSpec}
    return write_stream_store(to, specs[task](**chosen), overwrite=overwrite)[1]

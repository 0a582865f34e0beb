"""Commands made of the options that classes state, and groups whose commands are made when one is asked for."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from qinn.stated_options import Option

_TYPES: dict[str, Any] = {
    "text": str | None,
    "whole": int | None,
    "number": float | None,
    "flag": bool,
    "switch": bool,
    "repeated": list[str] | None,
    "listed": str | None,
    "pairs": list[str] | None,
    "range": tuple[float, float] | None,
    "three": tuple[float, float, float] | None,
}


class _Command(TyperCommand):
    """A command that refuses an option given twice, of which the parser would take the last without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what was typed."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for one in given:
            several = getattr(one, "multiple", False) or getattr(one, "count", False)
            if not several and given.count(one) > 1:
                names = " or ".join(dict.fromkeys((one.opts[0], *one.secondary_opts)))
                ctx.fail(f"Option {names} is given {_times(given.count(one))}; give it once.")
        return super().parse_args(ctx, args)


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"


class Commands(typer.Typer):
    """A group all of whose commands take each option once, unless it is one to repeat."""

    def command(self, *stated: Any, **options: Any) -> Any:
        """Return what makes a command of a function."""
        return super().command(*stated, **{"cls": _Command, **options})


class LazyGroup(TyperGroup, ABC):
    """A group some of whose commands are made when one is asked for: others do not wait for what these need."""

    @abstractmethod
    def stated(self) -> Mapping[str, tuple[Callable[..., None], str | None]]:
        """Return the function of each such command, and what its help says; its docstring if None."""

    @cached_property
    def made_commands(self) -> dict[str, Any]:
        """Name → command."""
        app = Commands(add_completion=False)
        for name, (function, text) in self.stated().items():
            app.command(name=name, help=text)(function)
        return dict(typer.main.get_group(app).commands)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *self.made_commands]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command."""
        return super().get_command(ctx, cmd_name) or self.made_commands.get(cmd_name)


def with_options(options: "Iterable[Option]") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put options in the place of the ``**typed`` of a command, before its keyword-only parameters."""

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        own = [one for one in inspect.signature(command).parameters.values() if one.name != "typed"]
        first = [one for one in own if one.kind is not inspect.Parameter.KEYWORD_ONLY]
        stated = [parameter for one in options for parameter in _parameters(one)]
        signature = inspect.Signature(
            [
                one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
                for one in (*first, *stated, *own[len(first) :])
            ]
        )
        # The only way by which typer takes parameters that no source text states; type checkers do not know it.
        command.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
        return command

    return decorated


def given_of(typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given: 0 is one, a flag that was not typed is none.

    Examples:
        >>> given_of({"label_index": 0, "threshold": 0.0, "lowercase": False, "feature": [], "scale": None})
        {'label_index': 0, 'threshold': 0.0}
    """
    return {
        name: value
        for name, value in typed.items()
        if value is not None and value is not False and value != []
    }


def _parameters(option: "Option") -> list[inspect.Parameter]:
    """Return an option as a parameter of a command, with the flag that turns it off, if there is one."""
    shown: dict[str, Any] = {"help": _sentence(option.meaning), "metavar": option.value or None}
    if option.bounds:
        shown |= {"min": option.bounds[0], "max": option.bounds[1]}
    flags = f"{option.flag}/--no-{option.flag[2:]}" if option.form == "switch" else option.flag
    default = {"flag": False, "switch": True}.get(option.form or "text")
    typed = [(option.name, _TYPES[option.form or "text"], typer.Option(flags, **shown), default)]
    if option.off:
        name, meaning = option.off
        off = typer.Option("--" + name.replace("_", "-"), help=_sentence(meaning))
        typed.append((name, bool, off, False))
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, how], default=default
        )
        for name, kind, how, default in typed
    ]


def _sentence(meaning: str) -> str:
    return escape(meaning.replace("`", "")) + "."

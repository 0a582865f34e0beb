"""Options stated once: what an option is called, what it may be and what it means stands at a field of a dataclass.

The commands ``qinn data import LAYOUT``, ``convert``, ``split`` and ``synthesize``, the checks of what is given and the
tables of docs/data.md follow from it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from functools import partial
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

from qinn.errors import ConfigError

__all__ = [
    "Option",
    "Typed",
    "check_options",
    "made",
    "nested",
    "option",
    "options_of",
    "parse_pairs",
    "typed_from",
]

Form = Literal["text", "whole", "number", "flag", "switch", "repeated", "listed", "pairs", "range", "three"]
_Made = TypeVar("_Made")
Typed = str | bool | int | float | list[str] | list[float | int]
"""What is typed for an option."""


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        help: What it means, in Markdown.
        name: What it is called, with underscores; by default as its field.
        form: How it is typed, by default as the type of its field says: a word, a whole number, a number, a flag, a
            switch that is on by default, an option that is repeated, names with commas between them, ``KEY=VALUE``
            pairs with commas between them, the two ends of a range (fields `low` and `high`), or three numbers.
        choices: What it may be; of a repeated one, what each may be.
        metavar: What stands for its value.
        bounds: Smallest and largest number.
        off: A flag that makes it None, and what that means.
        read: Makes what the field is of what was typed.
        default: What it is where nothing is said.
        place: Fields that lead to it.
    """

    help: str
    name: str = ""
    form: Form | None = None
    choices: tuple[str, ...] = ()
    metavar: str = ""
    bounds: tuple[float | int, float | int] | None = None
    off: tuple[str, str] | None = None
    read: Callable[[Any], Any] | None = None
    default: Any = None
    place: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The option as it is typed."""
        return "--" + self.name.replace("_", "-")

    @property
    def value(self) -> str:
        """What stands for its value; empty for a flag."""
        return self.metavar or "|".join(self.choices)

    @property
    def meaning(self) -> str:
        """What it means and what it is by default."""
        default = f"{self.default:g}" if isinstance(self.default, float) else self.default
        is_shown = default and isinstance(default, str | int) and self.form not in ("flag", "switch")
        return f"{self.help}; `{default}` by default" if is_shown else self.help

    def fields_of(self, typed: Any) -> dict[str, Any]:
        """Return the fields of its class that a typed value gives.

        Raises:
            ConfigError: If the value has not its form.
        """
        name = self.place[-1]
        if self.read is not None:
            return {name: self.read(typed)}
        if self.form == "range":
            return dict(zip((name, "high"), typed, strict=True))
        if self.form == "listed":
            return {name: tuple(piece.strip() for piece in typed.split(","))}
        if self.form == "pairs":
            return {name: parse_pairs(typed, self.name)}
        return {name: tuple(typed) if self.form == "repeated" else typed}

    def typed_of(self, options: Any) -> Typed:
        """Return what is typed for the value that options have: the inverse of `fields_of`."""
        value: Any = getattr(options, self.place[-1])
        if self.form == "range":
            return [value, options.high]
        if isinstance(value, Mapping):
            return [f"{key}={one}" for key, one in value.items()]
        if self.form == "listed":
            return ",".join(value)
        if self.form == "repeated":
            return [str(one) for one in value]
        return value if isinstance(value, int | float) else str(value)

    def check(self, value: Any) -> None:
        """Refuse what the option can't be.

        Raises:
            ConfigError: Naming what it can be.
        """
        if value is None and self.default is None:
            return
        if self.form == "repeated" and value is not None and len(set(value)) < len(value):
            twice = next(one for one in value if value.count(one) > 1)
            raise ConfigError(f"Option `{self.name}` names `{twice}` twice; give it once.")
        if self.choices and self.form == "repeated":
            if not value or not set(value) <= set(self.choices):
                raise ConfigError(
                    f"Option `{self.place[-1]}` must be some of {', '.join(self.choices)}, but it is {value}."
                )
        elif self.choices and value not in self.choices:
            known = " or ".join([", ".join(self.choices[:-1]), self.choices[-1]])
            raise ConfigError(f"Option `{self.name}` must be {known}, but it is `{value}`.")
        if self.bounds is not None and value is not None:
            low, high = self.bounds
            if not low <= value <= high:
                raise ConfigError(
                    f"Option `{self.name}` must be {low} or more and at most {high}, but it is {value}."
                )


def option(default: Any, help: str, **stated: Any) -> Any:
    """Return a field of a dataclass that is an option.

    Args:
        default: What it is where nothing is said.
        help: What it means.
        stated: Further attributes of `Option`.
    """
    metadata = {"option": Option(help, **stated)}
    return (
        field(default_factory=dict, metadata=metadata)
        if default == {}
        else field(default=default, metadata=metadata)
    )


def nested(make: Callable[[], Any], *, without: Collection[str] = ()) -> Any:
    """Return a field of a dataclass that holds further options.

    Args:
        make: Makes what it is where nothing is said.
        without: Fields of it that can't be chosen here.
    """
    return field(default_factory=make, metadata={"without": tuple(without)})


def options_of(options: type | Any) -> Iterator[Option]:
    """Go through the options of a dataclass, or of an instance of one with its values as defaults.

    Examples:
        >>> @dataclass
        ... class Colours:
        ...     sky: str = option("blue", "Colour of the sky", choices=("blue", "grey"))
        >>> [(one.flag, one.value, one.meaning) for one in options_of(Colours)]
        [('--sky', 'blue|grey', 'Colour of the sky; `blue` by default')]
    """
    defaults = options() if isinstance(options, type) else options
    for one in fields(defaults):
        default = getattr(defaults, one.name)
        if "option" in one.metadata:
            yield replace(_stated(one), default=default)
        elif "without" in one.metadata:
            for inner in options_of(default):
                if inner.place[-1] not in one.metadata["without"]:
                    yield replace(inner, place=(one.name, *inner.place))


def made(options: "type[_Made] | _Made", typed: Mapping[str, object]) -> _Made:
    """Make options of what was typed.

    Args:
        options: Their class, or options of it to be changed.
        typed: Name of an option → what was typed; what is missing or None keeps its default. The name of a flag that
            makes an option None → True.

    Raises:
        ConfigError: If an option can't be what was typed.
    """
    usual: Any = options() if isinstance(options, type) else options
    values: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for one in options_of(usual):
        if one.off and typed.get(one.off[0]):
            if typed.get(one.name) is not None:
                raise ConfigError(
                    f"Options `{one.name}` and `{one.off[0]}` exclude each other; give one of them."
                )
            values[one.place[0]] = None
        elif (given := typed.get(one.name)) not in (None, [], ()):
            found = one.fields_of(given)
            (values if len(one.place) == 1 else inner.setdefault(one.place[0], {})).update(found)
    for name, changed in inner.items():
        default = getattr(usual, name)
        values[name] = getattr(default, "changed", partial(replace, default))(**changed)
    return replace(usual, **values)


def typed_from(options: Any, usual: Any = None) -> dict[str, Typed]:
    """Return what has to be typed to make options: name → what, of those that are not as by default.

    Args:
        options: The options.
        usual: What they are by default; those of their class if None.

    Examples:
        >>> @dataclass(frozen=True)
        ... class Colours:
        ...     sky: str = option("blue", "Colour of the sky")
        ...     sea: tuple[str, ...] = option(("green",), "Colours of the sea")
        >>> typed_from(Colours(sea=("grey", "black")))
        {'sea': ['grey', 'black']}
    """
    usual = type(options)() if usual is None else usual
    found: dict[str, Typed] = {}
    for one in fields(options):
        value, default = getattr(options, one.name), getattr(usual, one.name)
        if "without" in one.metadata:
            found |= typed_from(value, default)
        elif "option" in one.metadata:
            stated = _stated(one)
            ends = stated.form == "range" and options.high != usual.high
            if value is None and default is not None and stated.off:
                found[stated.off[0]] = True
            elif value is not None and (value != default or ends):
                found[stated.name] = stated.typed_of(options)
    return found


def check_options(options: Any) -> None:
    """Refuse values of a dataclass's own options that are none of their choices or outside their bounds.

    Raises:
        ConfigError: Naming the first.
    """
    for one in fields(options):
        if "option" in one.metadata:
            _stated(one).check(getattr(options, one.name))


def _stated(one: Field[Any]) -> Option:
    """Return the option that a field is."""
    stated = one.metadata["option"]
    kind = get_origin(one.type) or one.type
    forms: dict[Any, Form] = {
        bool: "switch" if one.default is True else "flag",
        int: "whole",
        float: "number",
        tuple: "repeated",
        Mapping: "pairs",
    }
    if kind is UnionType:
        kind = next((form for form in map(_plain, get_args(one.type)) if form in forms), str)
    return replace(
        stated,
        name=stated.name or one.name,
        form=stated.form or forms.get(kind, "text"),
        default=one.default,
        place=(one.name,),
    )


def _plain(kind: Any) -> Any:
    return get_origin(kind) or kind


def parse_pairs(items: Sequence[str], option: str) -> dict[str, str]:
    """Read ``key=value`` pairs as one types them, several separated by commas.

    Args:
        items: What was typed.
        option: The option's name, for messages.

    Raises:
        ConfigError: If a piece is no pair or a key occurs twice.

    Examples:
        >>> parse_pairs(["-1=negative,0=neutral", "1=positive"], "label_map")
        {'-1': 'negative', '0': 'neutral', '1': 'positive'}
    """
    pairs: dict[str, str] = {}
    for piece in (piece.strip() for item in items for piece in item.split(",")):
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not (key and equals and value):
            raise ConfigError(
                f"Option `{option}` must be KEY=VALUE pairs, separated by commas, but has `{piece}`."
            )
        if key in pairs:
            raise ConfigError(f"Option `{option}` names `{key}` twice.")
        pairs[key] = value
    return pairs

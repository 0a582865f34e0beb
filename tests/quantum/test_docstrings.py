"""Docstrings of the quantum core say what CONTRIBUTING.md asks for, in whole sentences, and can be rendered."""

import importlib
import inspect
import pkgutil
import re
from types import FunctionType

import pytest

import qinn.quantum as quantum

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Source", "Examples")
HEADING = re.compile(r"^([A-Z][A-Za-z]+):( .*)?$")
ENTRY = re.compile(r"^(\*{0,2}\w+): \S")
DOUBLED = re.compile(r"\b([A-Za-z]{2,}) \1\b", re.I)


def paragraphs(text):
    """Runs of lines between empty ones, without the doctest examples."""
    text = re.sub(r"^ *>>> .*\n(?:(?! *\n).+\n?)*", "", text + "\n", flags=re.M)
    return [part.splitlines() for part in re.split(r"\n\s*\n", text) if part.strip()]


def indent_of(line):
    return len(line) - len(line.lstrip())


def faults_of(text, parameters=None):
    """What is wrong with a docstring; parameters, if given, are those that `Args` may name."""
    found = []
    text = inspect.cleandoc(text)
    first, *rest = text.splitlines()
    if not first.endswith((".", ":", "!")):
        found.append("the first line is no sentence")
    if rest and rest[0].strip():
        found.append("no empty line behind the first one")
    for lines in paragraphs(text):
        heading = HEADING.match(lines[0])
        name = heading.group(1) if heading and heading.group(1) in SECTIONS else None
        if heading and name is None and not heading.group(2):
            found.append(f"unknown section {heading.group(1)}")
        if name is None:
            bullets = lines[0].lstrip().startswith(("- ", "1. "))
            if len({indent_of(line) for line in lines}) > 1 and not bullets:
                found.append(f"lines of different indentation in the paragraph {lines[0]!r}")
        elif any(indent_of(line) < 4 for line in lines[1:]):
            found.append(f"section {name} is broken off")
        if name in ("Args", "Attributes") and heading is not None and not heading.group(2):
            entries = [line.strip() for line in lines[1:] if indent_of(line) == 4]
            found += [f"no entry: {entry!r}" for entry in entries if not ENTRY.match(entry)]
            named = [match.group(1).lstrip("*") for match in map(ENTRY.match, entries) if match]
            if parameters is not None and name == "Args" and set(named) != set(parameters):
                found.append(f"Args names {sorted(named)} and not {sorted(parameters)}")
    words = " ".join(" ".join(lines) for lines in paragraphs(text))
    plain = re.sub(r"``[^`]+``|`[^`]+`", "", words)
    if "`" in plain:
        found.append("backticks do not match")
    doubled = DOUBLED.search(re.sub(r"\s+", " ", plain))
    if doubled:
        found.append(f"doubled word {doubled.group(0)!r}")
    for opening, closing in ("()", "[]"):
        prose = re.sub(r"[\[(]0, 1[\])]|±\)|[\[(][01], [01∞][\])]", "", plain)
        if prose.count(opening) != prose.count(closing):
            found.append(f"{opening} and {closing} do not match")
    if re.search(r"[a-z]\.\.(?!\.)|,,| ,(?! )|;;", plain):
        found.append("stray punctuation")
    return found


def described():
    """Every public class, function, method and property of the package, by its full name."""
    modules = [quantum]
    walked = pkgutil.walk_packages(quantum.__path__, "qinn.quantum.")
    modules += [importlib.import_module(info.name) for info in walked]
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isclass(value):
                found[f"{module.__name__}.{name}"] = value
                for method, member in vars(value).items():
                    inner = (
                        member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                    )
                    if not method.startswith("_") and isinstance(inner, FunctionType):
                        found[f"{module.__name__}.{name}.{method}"] = inner
            elif isinstance(value, FunctionType):
                found[f"{module.__name__}.{name}"] = value
    return found


DESCRIBED = described()
PUBLIC = {name: getattr(quantum, name) for name in quantum.__all__}


def parameters_of(value):
    target = value.__init__ if inspect.isclass(value) else value
    return [name for name in inspect.signature(target).parameters if name not in ("self", "cls")]


@pytest.mark.parametrize("name", DESCRIBED)
def test_docstrings_are_whole_sentences_that_can_be_rendered(name):
    value = DESCRIBED[name]
    text = value.__doc__ or ""
    assert text, "no docstring"
    assert faults_of(text, parameters_of(value)) == []


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_say_what_they_take_and_give_with_an_example(name):
    value, text = PUBLIC[name], inspect.cleandoc(PUBLIC[name].__doc__)
    assert not text.startswith(f"{name}("), "a generated signature stands in for the docstring"
    parameters = parameters_of(value)
    if inspect.isclass(value):
        assert not parameters or "Args:" in text or "Attributes:" in text or inspect.isabstract(value)
    else:
        assert not parameters or "Args:" in text
        assert "Returns:" in text or name.startswith("check_")
    raises = isinstance(value, FunctionType) and "raise ArgumentError" in inspect.getsource(value)
    assert not raises or "Raises:" in text
    if inspect.isclass(value) and not hasattr(value, "_evolve"):
        return
    assert ">>> " in text or inspect.isabstract(value)


BROKEN = {
    "the former docstring of QuantumJumps": """Do something.

    Gradient: kets are differentiated at a fixed record (pathwise), and ``log_likelihood`` has value 0 and
        gradient
    ∂ log p(record). Pass each trajectory's values on.
    """,
    "no sentence": "Return the\n\n    value of it.",
    "backtick": "Return the `value of it.",
    "double backtick": "Return the ``value` of it.",
    "doubled word": "Return the the value.",
    "doubled over lines": "Return.\n\n    Everything that is\n    is returned.",
    "section": "Return it.\n\n    Arguments:\n        value: A value.\n    ",
    "entry": "Return it.\n\n    Args:\n        value - A value.\n    ",
    "other parameters": "Return it.\n\n    Args:\n        number: A value.\n    ",
    "broken off": "Return it.\n\n    Returns:\n        A value that\n    is good.\n    ",
    "parenthesis": "Return it (of course.",
    "stray": "Return it. No..\n\n    That is,, all..",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_docstrings_are_found(name):
    assert faults_of(BROKEN[name], ["value"])


def test_the_rules_leave_a_sound_docstring_alone():
    text = """Return it, always.

    More of the (same) `code`, and ``code``.

    Args:
        value: A value,
            in two lines.

    Returns:
        It.

    Source: somebody (1990)
        and another.
    """
    assert faults_of(text, ["value"]) == []

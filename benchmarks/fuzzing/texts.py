"""Mutations of text: tables, JSON and YAML; and tables in Parquet."""

import copy
import io
import json
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .pickles import CANARY

_CELLS = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "1e308",
    "NaN",
    "abc",
    "0x10",
    "1_000",
    "３",
    '"',
    '""',
    '"open',
    "a,b",
    "a\tb",
    "\x00",
    "\r",
    "x" * 140_000,
    "=cmd()",
    "../../etc/passwd",
    "é",
    "🙂",
    " ",
)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**63,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../../../etc/passwd",
    "text\x00",
    "x" * 5000,
    [],
    {},
    [1],
    {"a": 1},
    [[[]]],
)
_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)
HOSTILE_YAML: tuple[bytes, ...] = tuple(
    text.encode()
    for text in (
        _BOMB,
        _BOMB + "models: *a29\n",
        _BOMB + "name: *a29\n",
        _BOMB + "data: {store: *a29}\n",
        "&a [*a]",
        "models: &a {x: *a}",
        "data: &a {<<: *a}",
        f"name: !!python/object/apply:os.system ['touch {CANARY}']",
        f"!!python/object/new:os.system ['touch {CANARY}']",
        "[" * 20_000,
        "{a: " * 20_000,
        "- " * 20_000,
        "a: " + "9" * 100_000,
        "a: 0x" + "f" * 100_000,
        "a: 1:" + "59:" * 5000 + "1",
        "? " * 5000,
        "!!binary " + "A" * 100_000,
        "%YAML 9.9\n---\na: 1\n",
        "a: 1\n--- \nb: 2\n",
        "a: 9999-99-99",
        "a: 2001-12-14t21:59:43.10-99:99",
        "!!timestamp x",
        "!!int x",
        "!!float [1]",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "\ufeffname: x\n",
        "name: \udcff".encode("utf-8", "surrogatepass").decode("latin-1"),
    )
)
HOSTILE_JSON: tuple[bytes, ...] = tuple(
    text.encode()
    for text in (
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 100_000,
        "1e" + "9" * 1000,
        '{"format": "qinn-store", "version": 1}',
        '{"format": "qinn-store", "version": 1, "version": 2}',
        "\ufeff{}",
        "null",
        '"\\ud800"',
        "",
    )
)


def mutate_table(data: bytes, chance: random.Random, separator: str) -> bytes:
    """Return a text table with a cell, line or column that is not as it was."""
    lines = [line.split(separator) for line in data.decode().splitlines()]
    for _ in range(chance.choice((1, 1, 2))):
        row = chance.randrange(len(lines))
        cells = lines[row]
        at = chance.randrange(len(cells)) if cells else 0
        match chance.randrange(9):
            case 0 | 1 | 2 if cells:
                cells[at] = chance.choice(_CELLS)
            case 3:
                lines.insert(row, list(chance.choice(lines)))
            case 4 if len(lines) > 1:
                del lines[row]
            case 5 if cells:
                del cells[at]
            case 6:
                cells.insert(at, chance.choice(_CELLS))
            case 7 if cells:
                cells[at] = chance.choice(lines[chance.randrange(len(lines))] or [""])
            case _:
                lines[row] = []
    text = chance.choice(("\n", "\n", "\r\n", "\r")).join(separator.join(cells) for cells in lines)
    coding = chance.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"))
    return text.encode(coding, "replace")


def mutate_json(data: bytes, chance: random.Random) -> bytes:
    """Return a JSON document with values or keys changed, or with a key given twice."""
    tree = mutate_tree(json.loads(data), chance)
    text = json.dumps(tree, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.1 and isinstance(tree, dict) and tree:
        key = chance.choice(list(tree))
        text = f"{{{json.dumps(key)}: {json.dumps(chance.choice(_VALUES))}, {text[1:]}"
    return text.encode("utf-8", "replace")


def mutate_yaml(data: bytes, chance: random.Random) -> bytes:
    """Return a YAML document with values, keys, lines, tags or anchors changed."""
    import yaml

    if chance.random() < 0.6:
        tree = mutate_tree(yaml.safe_load(data), chance)
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode("utf-8", "replace")
    lines = data.decode().splitlines()
    row = chance.randrange(len(lines))
    match chance.randrange(6):
        case 0:
            lines.insert(row, chance.choice(lines))
        case 1:
            lines[row] = (
                chance.choice(("\t", "  ", " - ", "!!str ", "&a ", "*a ", "? ", "| ", "<<: ")) + lines[row]
            )
        case 2:
            lines[row] = lines[row].replace(
                ":", chance.choice((": &a", ": *a", "", ": !!float", ": [", ": |"))
            )
        case 3:
            lines[row] = lines[row].lstrip()
        case 4:
            lines = lines[:row]
        case _:
            lines.insert(row, chance.choice(("---", "...", "%TAG", "}", "\x00", "\x85", "- a")))
    return "\n".join(lines).encode("utf-8", "replace")


def mutate_tree(tree: Any, chance: random.Random) -> Any:
    """Return nested values with some of them replaced, removed, renamed or exchanged."""
    tree = copy.deepcopy(tree)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return chance.choice(_VALUES)
        holder, key = chance.choice(places)
        match chance.randrange(6):
            case 0 | 1:
                holder[key] = copy.deepcopy(chance.choice(_VALUES))
            case 2:
                del holder[key]
            case 3 if isinstance(holder, dict):
                holder[chance.choice(("x", str(key) + "s", str(key).upper(), "", "../x"))] = holder.pop(key)
            case 4:
                other, where = chance.choice(places)
                value = copy.deepcopy(other[where])
                holder[key] = value
            case _:
                value = holder[key]
                if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**64:
                    holder[key] = chance.choice((value + 1, -value, value * 2**40, float(value), str(value)))
                else:
                    holder[key] = [value]
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else []
    found = [(tree, key) for key in keys]
    for key in keys:
        found += _places(tree[key])
    return found


def mutate_parquet(data: bytes, chance: random.Random) -> bytes:
    """Return a Parquet table with a column of another kind, name, order or length."""
    table = pq.read_table(io.BytesIO(data))
    at = chance.randrange(table.num_columns)
    name, n = table.column_names[at], table.num_rows
    match chance.randrange(9):
        case 0:
            table = table.drop_columns([name])
        case 1:
            table = table.rename_columns({name: chance.choice(("x", name.upper(), "", "é"))})
        case 2:
            table = table.slice(0, chance.randrange(n + 1))
        case 3:
            table = table.set_column(
                at, name, pa.nulls(n, chance.choice((pa.null(), table.schema.field(at).type)))
            )
        case 4:
            columns = (
                pa.array([[1.5]] * n),
                pa.array([{"a": 1}] * n),
                pa.array([b"\xff"] * n),
                pa.array([2**63] * n, pa.uint64()),
                pa.array([1] * n, pa.timestamp("ns")),
                pa.array([float("nan")] * n),
                pa.array([True] * n),
                pa.array(["x" * 10_000] * n),
                pa.array([n / 3 for n in range(n)], pa.float32()),
                pa.array([str(n) for n in range(n)]).dictionary_encode(),
                pa.array(range(n), pa.int8()),
                pa.array([0] * n, pa.decimal128(5, 2)),
            )
            table = table.set_column(at, name, chance.choice(columns))
        case 5:
            table = pa.concat_tables([table, table])
        case 6:
            table = table.append_column(name + "s", table.column(at))
        case 7:
            table = table.take(pa.array(chance.sample(range(n), n)))
        case _:
            table = table.set_column(at, name, table.column(chance.randrange(table.num_columns)))
    target = io.BytesIO()
    options = {"compression": chance.choice(("snappy", "gzip", "zstd", "none", "lz4"))}
    try:
        pq.write_table(table, target, version=chance.choice(("1.0", "2.6")), **options)
    except pa.ArrowException:
        return data[: chance.randrange(len(data))]
    return target.getvalue()

"""The results of a part as Markdown, for docs/results/study.md."""

from collections.abc import Mapping, Sequence
from typing import Any

from preregistered.verdicts import LEVEL


def markdown_of(contents: Mapping[str, Any]) -> str:
    """Return the tables of a part: every cell's row, then what the tests say.

    Args:
        contents: What a result file holds.
    """
    parts = []
    if "failures" in contents:
        parts += [_failures(variant, found) for variant, found in contents["failures"].items()]
    else:
        parts.append(_rows(contents["rows"], contents.get("paired")))
    if "contrasts" in contents:
        parts += [_contrasts(variant, found) for variant, found in contents["contrasts"].items()]
    if "likelihood" in contents:
        parts.append(_likelihood(contents["likelihood"]))
    return "\n\n".join(parts)


def _rows(rows: Sequence[Mapping[str, Any]], paired: Mapping[str, Any] | None) -> str:
    tests = list(dict.fromkeys(name for row in rows for name in row["tests"]))
    metrics = list(paired[next(iter(paired))]) if paired else ["accuracy"]
    is_solved = any("solved" in row for row in rows)
    columns = [name if metrics == ["accuracy"] else metric for name in tests for metric in metrics]
    header = [
        "data",
        "cell",
        "parameters",
        "setting",
        "epochs",
        "CPU s",
        *columns,
        *(["solved"] if is_solved else []),
    ]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        data = " · ".join(
            filter(None, [row["variant"], row["phase"] if row["phase"] != "evaluation" else ""])
        )
        cells = [data or "–", row["cell"], f"{row['parameters']:,}", row["trial"], str(row["epochs"])]
        cells.append(f"{row['cpu_seconds']:.0f}")
        for name in tests:
            for metric in metrics:
                test = (paired or {}).get(row["variant"], {}).get(metric, {}).get(row["cell"], {})
                cells.append(_value(row["tests"].get(name, {}).get(metric), test))
        if is_solved:
            cells.append(f"{row['solved']}/{row['fits']}")
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _value(value: Mapping[str, Any] | None, test: Mapping[str, Any]) -> str:
    if value is None:
        return "–"
    text = f"{value['mean']:.3f}" + ("" if value["sd"] is None else f" ± {value['sd']:.3f}")
    if test.get("p_value_holm") is not None and test["p_value_holm"] < LEVEL:
        text += " *"
    return text + (" ≈" if test.get("equivalent") else "")


def _contrasts(variant: str, found: Mapping[str, Mapping[str, float]]) -> str:
    lines = [["first cell minus", "difference", "p", "p (Holm)"], ["---"] * 4]
    lines += [
        [cell, f"{one['difference']:+.3f}", f"{one['p_value']:.4f}", f"{one['p_value_holm']:.4f}"]
        for cell, one in found.items()
    ]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{variant}:\n\n{table}" if variant else table


def _failures(variant: str, found: Mapping[str, Any]) -> str:
    trials = list(next(iter(found["cells"].values()))["by trial"])
    lines = [["cell", *trials, "high rates"], ["---"] * (len(trials) + 2)]
    lines += [
        [cell, *(f"{one['by trial'][trial]:.2f}" for trial in trials), f"{one['high rates']:.2f}"]
        for cell, one in found["cells"].items()
    ]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{variant} (failed: diverged, or validation accuracy below {found['bound']:.3f}):\n\n{table}"


def _likelihood(found: Mapping[str, Any]) -> str:
    folds = ", ".join(f"{value:+.3f}" for value in found["folds"])
    return (
        f"Negative log-likelihood, first minus second cell: {found['difference']:+.3f} "
        f"[{found['low']:+.3f}, {found['high']:+.3f}], p = {found['p_value']:.4f} over {found['groups']} groups; "
        f"by fold {folds}."
    )

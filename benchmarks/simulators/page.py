"""docs/benchmarks.md from the results."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from simulators import bars

_MODES = {"forward": "forward", "both": "forward + backward"}
_HEAD = """# Benchmarks of the quantum core

Written by `benchmarks/quantum.py` from [its results](../benchmarks/results/quantum.json), which hold every sample. To
make everything again, in an environment of its own with the other packages:

```
make benchmark                                                    # about {minutes} minutes of CPU time, one core
.venv-benchmark/bin/python benchmarks/quantum.py --quick          # a smoke test
.venv-benchmark/bin/python benchmarks/quantum.py --only exact-64  # single rows, printed
```

{measured}
"""
_BY_HAND = "torchdiffeq on read-outs"
_WHERE_IT_HOLDS = """
Where this comes from, and where it does not hold: `Heisenberg` evolves the few read-outs in place of the many
states, so the factor grows with the batch and shrinks with the number of read-outs; the last column is the same
idea by hand in another package, and leaves a factor of 7 to 13 from D = 27 on. **At D = 8 dynamiqs' propagator is
level**, and QuTiP's takes a fifth more: there all are matrix products and overhead. A problem that needs the
evolved states themselves (`ExactChannel`, here in double precision) takes {states} times as long as its read-outs
at D = 64. Nothing was measured on a GPU. The bars that we had set ourselves are in the table after the figure; most
are missed.
"""
_HOW = """## What is measured

**Problem.** A random Hermitian H with ‖H‖ = 3, K = 2 random jump operators with together one jump per unit time,
T = 1, B random kets, probabilities p_bj of 8 random unit vectors after the evolution; backwards, gradients of
Σ w_bj p_bj in H, L_k and the kets. Every package gets the same numbers.

**Accuracy.** Each package gets the loosest tolerance of 1, 3, 10, 30 … × 10⁻⁸ at which every size reaches an error
of the probabilities of 10⁻⁶ (qinn 1e-5, QuTiP 3e-6, dynamiqs 3e-7, torchdiffeq 1e-7). qinn's default, 1e-6, has a
row of its own; it bounds the Hilbert–Schmidt norm, so that probabilities are more exact. The errors below are the
largest deviations from a reference: densities and their derivative along a random direction, integrated by DOP853
with relative tolerance 1e-11, without any of qinn. The gradient error is relative, of the derivative along that
direction.

**Clock.** One process pinned to one core, single-threaded libraries, subnormal numbers flushed; CPU time of the
process. The packages take turns; a sample is a burst of calls of at least 20 ms after one that is not counted.
Medians (quartiles in brackets). The machine does other work meanwhile, which slows all of them alike: **ratios
within a row mean something, milliseconds of different rows less**. dynamiqs is compiled before; its compilation is
given apart. Memory is the growth of the resident set at its peak during one call (the kernel's high-water mark, set
back before).

**The other packages at their best.** QuTiP: `MESolver`, built once per call, over state after state with the
fastest integrator (vern7; the matrix form above D = 8); at D ≥ 27 a few states, scaled up to B; its propagator too
where that is faster. For trajectories all inputs go into one run as an initial mixture, with the integrator that is
fastest at that dimension. dynamiqs: `mesolve` with its default method Tsit5 in single (its default) and double
precision, and up to D = 27 its propagator method Expm, all states in one compiled call; gradients by its default,
checkpointed, method. torchdiffeq: dopri5 with the states side by side in one product and half of the commutator by
Hermiticity, gradients through the solver's steps; `on observables` is qinn's own idea, evolving the read-outs
instead of the states, written by hand for torchdiffeq, and does not count against the bars.

**Trajectories.** qinn and QuTiP sample jump times in continuous time; dynamiqs' EulerJump has a step of 1/64, and
its gradient leaves out how the parameters move the jumps, so that it is biased whatever the number of
trajectories. The tables show both: means against the exact averages, and the estimated gradient's projection on the
exact one, over every trajectory drawn. QuTiP's gradients (`jax.grad` runs through `mcsolve` with qutip-jax) were
neither timed nor checked for bias.

**Floor.** The multiplications of the least algorithm known to us at the rate of a 512³ product of the same dtype,
timed between the packages: 16 applications of the generator to N matrices side by side (N = 8 read-outs, or B
densities), 2K + 1 products of D × D by D × DN each (JX + its adjoint: one; L_k X L_k†: two), backwards 3K + 2 (the
same for the cotangent, and one for the gradient in J and in each L_k). `benchmarks/simulators/floor.py` says more.
For D ≤ 8, qinn multiplies by the D² × D² matrix of the channel instead: there the figure only says that overhead
rules.
"""


def render(record: dict[str, Any], along: dict[str, Any] | None = None) -> str:
    """The whole page, with what was measured along times where there is that."""
    return "\n".join(
        [
            _head(record),
            _summary(record["rows"]),
            "![Times of the packages and how they grow](figures/quantum-benchmark.png)\n",
            _bars(record["bars"]),
            _HOW,
            "## Every row\n",
            *(_row(row) for row in record["rows"]),
            _sweeps(record["scaling"]),
            *([] if along is None else [_along(along)]),
        ]
    )


def _along(record: dict[str, Any]) -> str:
    """Many times of one pass, beside QuTiP."""
    lines = [
        "## Many times of one pass\n",
        "Written from [results of their own](../benchmarks/results/along.json), which `benchmarks/along.py` makes: one "
        "ket of",
        f"the same problem, seen at {record['times']} even times until T = {record['time']:g}; trajectories are "
        f"{record['trajectories']}, many trajectories {record['many']:,}, averaged. QuTiP {record['qutip']} has",
        "the tolerance 3e-6, qinn its defaults, 1e-6 and 1e-12: qinn's exact numbers have one to five digits more.",
        "Medians of CPU time in turns, in one process: the ratios count. *Last",
        "alone* is the last time without the others.\n",
        "| work | package | ms | QuTiP's time over it | over last alone | error |",
        "|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        medians = {each["name"]: each["median"] for each in row["results"]}
        for each in row["results"]:
            name, is_alone = each["name"], "alone" in each["name"]
            alone = (
                None
                if name == "QuTiP"
                else medians.get(name.replace("qinn, ", "qinn, the last time alone, "))
            )
            over = f"{each['median'] / alone:.2f} ×" if alone and not is_alone else ""
            theirs = (
                "" if is_alone or "QuTiP" not in medians else f"{medians['QuTiP'] / each['median']:.2f} ×"
            )
            lines.append(
                f"| {row['kind']}, D = {row['dim']} | {name} | {1e3 * each['median']:.3g} | {theirs} | {over} "
                f"| {each['error']:.0e} |"
            )
    return "\n".join(lines) + "\n"


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    """How many times as long the others take, each in its fastest setting: the first thing to read."""
    packages = ("QuTiP", "dynamiqs", "torchdiffeq")
    lines = [
        "## In short\n",
        "How many times as long as qinn the others take for the same numbers to 10⁻⁶, on one CPU core, **each in its "
        "fastest",
        "setting**, whatever its precision:\n",
        f"| work | {' | '.join(packages)} | {_BY_HAND} |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if row["kind"] == "batch":
            continue
        # Of two evolutions the one that a user of exact averages would take; of trajectories there is one.
        ours = row["results"][0]["median"]
        others = [each for each in row["results"] if each["package"] not in ("qinn", "GEMM")]
        by_hand = [each for each in others if each["setting"].endswith(bars.BY_HAND)]
        cells = [
            _ratio([each for each in others if each["package"] == name and each not in by_hand], ours)
            for name in packages
        ]
        kind = "exact averages" if row["kind"] == "exact" else "sampled jumps"
        count = "trajectories" if row["kind"] == "jumps" else "B"
        work = f"{kind}, {_MODES[row['mode']]}, D = {row['dim']}, {count} = {row['batch']}"
        lines.append(f"| {work} | {' | '.join(cells)} | {_ratio(by_hand, ours)} |")
    return "\n".join([*lines, _WHERE_IT_HOLDS.format(states=_states_over_readouts(rows))])


def _states_over_readouts(rows: Sequence[dict[str, Any]]) -> str:
    medians = [
        {each["setting"]: each["median"] for each in row["results"]}
        for row in rows
        if row["kind"] == "exact" and row["dim"] == 64
    ]
    found = [each["ExactChannel"] / each["Heisenberg"] for each in medians if "ExactChannel" in each]
    return f"{min(found):.0f} to {max(found):.0f}" if found else "many"


def _ratio(results: Iterable[dict[str, Any]], ours: float) -> str:
    medians = [each["median"] for each in results]
    return f"{_number(min(medians) / ours)} ×" if medians else "–"


def _head(record: dict[str, Any]) -> str:
    machine, versions = record["machine"], dict(record["versions"])
    python = versions.pop("python")
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    left_out = record["left_out"]
    measured = (
        f"Measured {record['date']} at commit `{record['commit']}` on one core of {machine['cores']} "
        f"({machine['processor']}, {machine['vector_instructions']} in torch), Python {python}, {named}."
    )
    if left_out:
        measured += f" Not installed, so left out: {', '.join(left_out)}."
    return _HEAD.format(
        minutes=max(1, round(record["cpu_seconds"] / 60)), measured=textwrap.fill(measured, 118)
    )


def _bars(verdicts: Sequence[dict[str, Any]]) -> str:
    lines = [
        "## The bars\n",
        "Measured against the fastest setting of the package that reaches 10⁻⁶; in brackets, against its adaptive",
        "integrator in double precision.\n",
        "| work | bar | measured | against | |",
        "|---|---|---|---|---|",
    ]
    for each in verdicts:
        if each["measured"] is None:
            lines.append(f"| {each['work']} | {each['bar']} | | | not run |")
            continue
        double = each["measured"] if each["double"] is None else each["double"]
        shown = abs(double - each["measured"]) > 1e-9
        status = "**met**" if each["met"] else "missed"
        if shown and each["met_in_double"] != each["met"]:
            status += " (met in double)" if each["met_in_double"] else " (missed in double)"
        measured = _number(each["measured"]) + (f" ({_number(double)})" if shown else "")
        lines.append(f"| {each['work']} | {each['bar']} | {measured} | {each['against']} | {status} |")
    met = sum(bool(each["met"]) for each in verdicts)
    lines.append(
        f"\n{met} of {len(verdicts)} are met. Structured operators (D = 4,096 and beyond) have a benchmark of"
    )
    lines.append("their own, `benchmarks/structured.py`.\n")
    return "\n".join(lines)


def _row(row: dict[str, Any]) -> str:
    kind = {
        "exact": "exact averages",
        "batch": "exact averages, two batches",
        "jumps": "one trajectory per input",
    }[row["kind"]]
    count = "trajectories" if row["kind"] == "jumps" else "B"
    title = f"### {kind}, {_MODES[row['mode']]}, D = {row['dim']}, {count} = {row['batch']}\n"
    if row["kind"] == "jumps":
        return "\n".join([title, _trajectories(row), ""])
    ours = row["results"][0]["median"]
    lines = [
        title,
        "| package | tolerance | ms | × first | error | gradient error | peak MB | compilation s | × GEMM limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in row["results"]:
        if each["package"] != "GEMM":
            over = bars.over_floor(row, each)
            cells = (
                _name(each),
                _optional(each["tolerance"], ".0e"),
                _time(each),
                _number(each["median"] / ours),
                _optional(each["error"], ".1e"),
                _optional(each["gradient_error"], ".0e"),
                _megabytes(each),
                _optional(each["compile_seconds"], ".0f"),
                _optional(over, ".2f"),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _rates(row["results"]), ""])


def _trajectories(row: dict[str, Any]) -> str:
    both = row["mode"] == "both"
    lines = [
        "| package | µs per trajectory | × first | mean of the probabilities, largest deviation in standard errors |"
        + (" relative bias of the gradient |" if both else "")
        + " peak MB | compilation s |",
        "|---|---|---|---|---|---|" + ("---|" if both else ""),
    ]
    ours = row["results"][0]["median"]
    for each in row["results"]:
        extra = each["extra"]
        bias = ""
        if both:
            error = extra.get("gradient_bias_standard_error")
            bias = f" {extra['gradient_bias']:+.2f}" + ("" if error is None else f" ± {error:.2f}") + " |"
        low, high = (1e6 * value / row["batch"] for value in each["quartiles"])
        lines.append(
            f"| {_name(each)} | {_number(1e6 * each['median'] / row['batch'])} ({_number(low)}–{_number(high)}) "
            f"| {_number(each['median'] / ours)} | {extra['largest_score']:.1f} of {extra['trajectories']:,.0f} "
            f"trajectories |{bias} {_megabytes(each)} | {_optional(each['compile_seconds'], '.0f')} |"
        )
    return "\n".join(lines)


def _sweeps(sweeps: Iterable[dict[str, Any]]) -> str:
    sweeps = list(sweeps)
    if not sweeps:
        return ""
    fixed = sweeps[0]["fixed"]
    letters = {"dim": "D", "batch": "B", "num_jumps": "K", "num_readouts": "J", "time": "T", "steps": "steps"}
    held = ", ".join(f"{letters[name]} = {value:g}" for name, value in fixed.items())
    lines = [
        "## How qinn's time grows\n",
        f"Forward + backward in ms, one size at a time; the others are held at {held}.",
        "B is also the number of trajectories. All of these evolutions ignore the steps.\n",
    ]
    for sweep in sweeps:
        points = sweep["points"]
        values = list(dict.fromkeys(point["value"] for point in points))
        lines.append(f"| {letters[sweep['axis']]} | " + " | ".join(f"{value:g}" for value in values) + " |")
        lines.append("|---" * (len(values) + 1) + "|")
        for setting in dict.fromkeys(_name(point) for point in points):
            cells = {
                point["value"]: _number(1e3 * point["median"]) for point in points if _name(point) == setting
            }
            lines.append(f"| {setting} | " + " | ".join(cells.get(value, "") for value in values) + " |")
        lines.append("")
    return "\n".join(lines)


def _rates(results: Iterable[dict[str, Any]]) -> str:
    from simulators.floor import rate

    rates = [
        f"{each['precision']} {rate(each['median']) / 1e9:.0f}"
        for each in results
        if each["package"] == "GEMM"
    ]
    return (
        f"Rate of a 512³ product meanwhile, in 10⁹ real operations per second: {', '.join(rates)}."
        if rates
        else ""
    )


def _name(result: dict[str, Any]) -> str:
    return f"{result['package']} {result['setting']}, {result['precision']}"


def _time(result: dict[str, Any]) -> str:
    low, high = result["quartiles"]
    star = "" if result["scale"] == 1 else " (scaled up)"
    return f"{_number(1e3 * result['median'])} ({_number(1e3 * low)}–{_number(1e3 * high)}){star}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _megabytes(result: dict[str, Any]) -> str:
    return "" if result["peak_bytes"] is None else f"{result['peak_bytes'] / 1e6:.1f}"


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)

"""Mutate valid files of every reader by the ten thousand and count what becomes of them (``make fuzz``).

Each file is read in a process of its own with limits on memory and time (`fuzzing.sandbox`). It must be refused
in a sentence that names it, or be read as its bytes say; it must never crash or hang the process, run code, take
memory out of proportion, reach other files, or arrive as something that it does not say. Each mutation has a
number, so that one can be repeated: ``--target csd --first 145 --files 1``.
"""

import argparse
import resource
import sys
import time
from collections import Counter
from pathlib import Path

from fuzzing.sandbox import (
    ADDRESS_SPACE,
    ALLOWED,
    CPU_SECONDS,
    FAILURES,
    MEMORY,
    REFUSED,
    SAME,
    Sandbox,
    Verdict,
)
from fuzzing.targets import TARGETS
from record import write_record

_AT_ONCE = 100
_SHOWN = 40


def main() -> int:
    """Run the mutations that were asked for; 1 where one of them came to something that must not be."""
    started = time.perf_counter()
    arguments = _arguments()
    counts: dict[str, Counter[str]] = {name: Counter() for name in arguments.target or TARGETS}
    each = -(-arguments.files // len(counts))
    failures: list[Verdict] = []
    with Sandbox() as sandbox:
        for start in range(arguments.first, arguments.first + each, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, arguments.first + each))
            for name, count in counts.items():
                for verdict in sandbox.judge(name, numbers):
                    count[verdict.outcome] += 1
                    if verdict.failed:
                        failures.append(verdict)
                        print(
                            f"{name} {verdict.number} ({verdict.file}): {verdict.outcome}\n{verdict.detail}\n"
                        )
            done = sum(map(Counter.total, counts.values()))
            print(
                f"{done} files, {len(failures)} failures, {time.perf_counter() - started:.0f} s", flush=True
            )
    total = sum(counts.values(), Counter())
    print(
        f"{total.total()} files: " + ", ".join(f"{count} {outcome}" for outcome, count in total.most_common())
    )
    if arguments.output is not None:
        write_record(
            arguments.output,
            started,
            question="What becomes of mutated files?",
            limits={"address space": ADDRESS_SPACE, "resident memory": MEMORY, "CPU seconds": CPU_SECONDS},
            cpu_seconds=round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime),
            files=total.total(),
            totals={outcome: total[outcome] for outcome in (REFUSED, SAME, ALLOWED, *FAILURES)},
            readers={name: dict(count.most_common()) for name, count in counts.items()},
            failures=[vars(failure) for failure in failures[:_SHOWN]],
        )
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Mutate valid files of every reader.")
    parser.add_argument("--files", type=int, default=66_000, help="number of mutated files, over all targets")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation of each target")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this one; repeat for more")
    parser.add_argument("--output", type=Path, help="JSON file for the counts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

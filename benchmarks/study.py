"""The preregistered study: what docs/preregistration.md promised, run once and reported whatever comes.

It refuses to run unless page and design were committed before, and a part whose results stand is not run again. An
interrupted part goes on where it stopped: every fit keeps its numbers in the folder of fits.

    python benchmarks/study.py S1 --work study --workers 2
"""

import argparse
import sys
import time
from pathlib import Path

from preregistered.fits import run_fits
from preregistered.parts import equal_cpu_fits, evaluation_fits, selection_fits
from preregistered.registration import NotRegisteredError, check_not_run, check_work, read_registration
from preregistered.tables import markdown_of
from preregistered.verdicts import contents_of
from record import write_record

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", help="S1 to S8")
    parser.add_argument("--work", type=Path, default=Path("study"), help="folder of stores and fits")
    parser.add_argument("--workers", type=int, default=1, help="fits at the same time")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    started = time.perf_counter()
    output = options.results / f"study-{options.part.lower()}.json"
    try:
        registration = read_registration(options.part)
        check_not_run(registration, output)
        check_work(registration, options.work)
    except NotRegisteredError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    design, work = registration.design, options.work.resolve()
    selection = run_fits(selection_fits(options.part, design), work, workers=options.workers)
    fits = evaluation_fits(options.part, design, selection) + equal_cpu_fits(options.part, design, selection)
    counted = run_fits(fits, work, workers=options.workers)
    contents = contents_of(options.part, design, selection, counted, work)
    write_record(
        output,
        started,
        part=options.part,
        registered={"commit": registration.commit, "design_sha256": registration.sha256},
        **contents,
    )
    print(markdown_of(contents))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One self-contained HTML page about runs, comparisons and tunings."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import qinn
from qinn.destinations import Destination, Product, check_destination, marked
from qinn.errors import ArgumentError
from qinn.escaping import visible
from qinn.report.numbering import Numbering
from qinn.report.sections import Section, comparison_section, run_section
from qinn.report.tuning_section import tuning_section
from qinn.results.comparison import COMPARISON_FILE, ComparisonResult, read_comparison
from qinn.results.files import write_text
from qinn.results.folder import runs_of
from qinn.results.number_text import counted
from qinn.results.run import RunResult, read_run
from qinn.results.summary import UNCHECKED
from qinn.results.tuning import TRIALS_FILE, TuningResult, read_tuning
from qinn.typed_arguments import typed


@typed
def write_report(
    paths: Sequence[Path | str],
    target: Path | str,
    *,
    include_text: bool = False,
    overwrite: bool = False,
    on_remark: Callable[[str], None] | None = None,
    further: Callable[[Numbering], Sequence[Section]] | None = None,
) -> Path:
    """Write one HTML page about runs, comparisons and tunings; it needs no other file and no network.

    The same folders give the same page, byte by byte.

    Args:
        paths: Folders of finished runs, comparisons and tunings, and of models in comparisons: all their seeds. A
            comparison brings its tables and the first run of its reference model; every run that is named is shown in
            full.
        target: The HTML file.
        include_text: Whether to show the texts of the explained samples, looked up in the run's store. Off by
            default: transcripts may often not be passed on.
        overwrite: Replace a file that is no such page.
        on_remark: Called with each sentence that a user should know about the folders.
        further: Makes sections that are in none of the folders, to stand behind the comparisons.

    Returns:
        The path of the page.

    Raises:
        ArgumentError: If there is no path.
        CheckpointError: If a folder is missing, unfinished, damaged or of another kind.
        OutputError: If the page cannot be written, or its place is another's.
    """
    place = check_destination(target, page_of("report"), overwrite=overwrite, inputs=paths)
    tunings = [read_tuning(path) for path in paths if (Path(path) / TRIALS_FILE).is_file()]
    others = [path for path in paths if not (Path(path) / TRIALS_FILE).is_file()]
    comparisons, runs = read_results(others, include_text=include_text) if others or not tunings else ([], [])
    notes = [note for result in comparisons for note in result.notes]
    notes += [UNCHECKED for run in runs if run.summary.version == 1]
    if on_remark is not None:
        for note in dict.fromkeys(notes):
            on_remark(note)
    numbering = Numbering()
    sections = [
        comparison_section(result, f"comparison-{index}", numbering)
        for index, result in enumerate(comparisons, start=1)
    ]
    sections += [
        tuning_section(one, f"tuning-{index}", numbering) for index, one in enumerate(tunings, start=1)
    ]
    sections += further(numbering) if further is not None else []
    sections += [run_section(run, f"run-{index}", numbering) for index, run in enumerate(runs, start=1)]
    results = [*comparisons, *tunings, *(run.summary for run in runs)]
    names = dict.fromkeys(result.name for result in results)
    render_page(
        place,
        "report",
        title=f"Report: {', '.join(names)}",
        lead=_lead(comparisons, tunings, runs),
        sections=sections,
        origin="the files of the run folders named above",
    )
    return Path(target)


def read_results(
    paths: Sequence[Path | str], *, include_text: bool = False
) -> tuple[list[ComparisonResult], list[RunResult]]:
    """Read run and comparison folders, each once.

    Args:
        paths: Folders, in the order in which they are to appear.
        include_text: Whether to look up the samples' texts in the store.

    Returns:
        The comparisons, and the runs to be shown one by one: the first run of each comparison's reference
        model, and every run that was named.

    Raises:
        ArgumentError: If there is no path.
        CheckpointError: If a folder is missing, unfinished, damaged or of another kind.
    """
    if not paths:
        raise ArgumentError("A report must be about at least one run or comparison; name its folder.")
    comparisons: dict[Path, ComparisonResult] = {}
    runs: dict[Path, Path] = {}
    for path in map(Path, paths):
        place = path.resolve()
        if not (path / COMPARISON_FILE).is_file():
            for found in runs_of(path):
                runs.setdefault(found.path.resolve(), found.path)
        elif place not in comparisons:
            comparisons[place] = read_comparison(path)
            first = comparisons[place].runs(comparisons[place].reference)[0].path
            runs.setdefault(first.resolve(), first)
    return list(comparisons.values()), [read_run(path, include_text=include_text) for path in runs.values()]


def page_of(command: str) -> Product:
    """Return the pages of a command, which name it as their generator."""
    return marked(f"qinn {command}", f'<meta name="generator" content="qinn {command} ')


def render_page(
    target: Destination, command: str, *, title: str, lead: str, sections: Sequence[Section], origin: str
) -> None:
    """Write a page that needs no other file and no network.

    Args:
        target: The HTML file.
        command: The command that makes it.
        title: Its heading.
        lead: One sentence below the heading.
        sections: What it shows.
        origin: What it is made from, for the last line.

    Raises:
        QinnError: If the page cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("qinn.report", ""),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    page = environment.get_template("page.html.jinja").render(
        title=title,
        lead=lead,
        sections=sections,
        origin=origin,
        generator=f"qinn {command} {qinn.__version__}",
        version=qinn.__version__,
    )
    write_text(target.path, page, overwrite=target.replaces)


def _visible(value: Any) -> Any:
    """Let nothing hidden into a page; what is mark-up already was escaped when it was made."""
    return visible(value, lines=True) if type(value) is str else value


def _lead(
    comparisons: Sequence[ComparisonResult], tunings: Sequence[TuningResult], runs: Sequence[RunResult]
) -> str:
    parts = [
        f"{counted(len(result.models), 'model')} compared over {counted(len(result.seeds), 'seed')} on "
        f"{result.data.name}"
        for result in comparisons
    ]
    parts += [
        f"{counted(len(result.models), 'model')} tuned by {counted(result.num_trials, 'trial')} each on "
        f"{result.data.name}"
        for result in tunings
    ]
    if runs or not tunings:
        parts.append(f"{counted(len(runs), 'run')} shown in detail")
    return "; ".join(parts) + "."

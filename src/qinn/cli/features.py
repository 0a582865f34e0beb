"""Commands about features of raw clips: ``qinn features extract`` and ``qinn features list``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qinn.cli.output import JsonOption, note, print_json, progress_bar, show_table
from qinn.cli.stated_commands import Commands, LazyGroup, given_of, with_options

_MOST_FAILURES = 5


class _FeaturesGroup(LazyGroup):
    """Commands about features, of which that which makes some waits for the classes of its options."""

    def stated(self) -> dict[str, tuple[Any, None]]:
        """Return the command that makes features."""
        return {"extract": (_command(), None)}


features_app = Commands(
    cls=_FeaturesGroup, help="Make features of raw clips, and say what can make them.", no_args_is_help=True
)


def _command() -> Any:
    """Return the function that typer makes the command of, a new one each time: its options are put into it."""
    from qinn.face.extracting import options_of_extraction

    @with_options(iter(options_of_extraction()))
    def extract(
        clips: Annotated[list[Path], typer.Argument(help="A table of clips, or files and folders of clips.")],
        to: Annotated[Path, typer.Option("--to", help="Folder of the store to write.")],
        *,
        text: Annotated[
            str,
            typer.Option(
                metavar="ENCODER",
                help="Features of words: minilm, mpnet, hash, hub:NAME, folder:PATH, words; none keeps the text.",
            ),
        ] = "minilm",
        work: Annotated[
            Path | None,
            typer.Option(help="Where to keep what is made of each clip (default: the store's with -clips)."),
        ] = None,
        workers: Annotated[
            int, typer.Option(min=1, max=1024, help="Clips that are worked on at the same time.")
        ] = 1,
        fail_fast: Annotated[
            bool, typer.Option("--fail-fast", help="End at the first clip that fails.")
        ] = False,
        landmarks: Annotated[
            bool, typer.Option("--landmarks", help="Keep the points of the face with each clip.")
        ] = False,
        name: Annotated[
            str | None, typer.Option(help="Name of the data set (default: the target's).")
        ] = None,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace a store that an import made.")
        ] = False,
        as_json: JsonOption = False,
        **typed: Any,
    ) -> None:
        """Make features of raw clips, and a store of them: words, voice and face, each step with its time.

        Clips that fail are left out and listed in failures.csv, with exit code 1. Repeating the command makes nothing
        twice.
        """
        from qinn.data.importing import describe_import
        from qinn.face.extracting import extract_features

        given = given_of(typed)
        with progress_bar("clips") as progress:
            found = extract_features(
                clips,
                to,
                text=text,
                work=work,
                workers=workers,
                fail_fast=fail_fast,
                landmarks=landmarks,
                name=name,
                overwrite=overwrite,
                progress=progress,
                **given,
            )
        extraction = found.extraction
        failed = list(extraction.failures)
        if as_json:
            print_json(
                {
                    "store": str(to),
                    "features": str(extraction.table.parent),
                    "clips": extraction.num_clips,
                    "kept": extraction.num_kept,
                    "failures": [
                        {"id": one.clip.id, "file": str(one.clip.path), "reason": one.reason}
                        for one in failed
                    ],
                    "manifest": found.store.manifest,
                }
            )
        else:
            before = f", {extraction.num_kept} of them made before" if extraction.num_kept else ""
            note(f"wrote {to}: {extraction.num_clips} clips{before}; this is what was understood:")
            for line in describe_import(found.store):
                note(f"  {line}")
        for one in failed[:_MOST_FAILURES]:
            note(f"left out: {one.reason}")
        if failed:
            place = extraction.table.with_name("failures.csv")
            note(f"{len(failed)} clips failed and are not in the store; {place} says which and why")
            raise typer.Exit(1)

    return extract


@features_app.command(name="list")
def list_makers(as_json: JsonOption = False) -> None:
    """Show what can make features of clips and texts, with licence and size, and what installs what is not here."""
    from qinn.face.extracting import feature_makers

    makers = list(feature_makers())
    if as_json:
        print_json(makers)
        return
    show_table(
        "What makes features",
        ("name", "of", "makes", "here", "licence", "size"),
        [
            (
                maker.name,
                maker.modality,
                maker.what,
                "yes" if maker.is_there else "no",
                maker.licence or "–",
                f"{maker.size / 1e6:.0f} MB" if maker.size else "–",
            )
            for maker in makers
        ],
    )
    for maker in makers:
        if not maker.is_there:
            note(f"{maker.name} is installed by: {maker.install}")
        elif maker.source:
            note(f"{maker.name} comes from {maker.source}")

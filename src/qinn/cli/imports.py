"""Commands ``qinn data import LAYOUT``: one for each layout, each a thin mapping to a reader's options.

Without a layout, ``qinn data import SOURCE …`` finds it out and goes on as if it had been named.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qinn.cli.output import JsonOption, note, print_json, progress_bar


class _LayoutGroup(TyperGroup):
    """Takes a source in place of a layout's name, and finds the layout by what is in it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command to run: the layout that is named, or else that of the source."""
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        rest = args[1:] if args[0] == "auto" else args
        if not rest or not Path(rest[0]).exists():
            ctx.fail(
                f"`{rest[0] if rest else args[0]}` is neither a layout ({', '.join(self.commands)}) nor a file or "
                "folder to import; the source comes before the options."
            )
        from qinn.data.importing import detect_layout

        layout = detect_layout(rest[0])
        note(f"`{rest[0]}` has the layout `{layout}`")
        return layout, self.get_command(ctx, layout), rest


import_app = typer.Typer(
    cls=_LayoutGroup,
    help="Import a data set into a store: `qinn data import SOURCE --to STORE`, with the options of its layout. "
    "The layout is found by what is in the source; name it first to be sure, as in `qinn data import mmsa SOURCE "
    "--to STORE`, and for its options, as in `qinn data import mmsa --help`.",
    no_args_is_help=True,
    subcommand_metavar="[LAYOUT] SOURCE --to STORE [OPTIONS]",
)

Source = Annotated[Path, typer.Argument(help="File or folder to import.")]
Target = Annotated[Path, typer.Option("--to", help="Folder of the store to write.")]
Name = Annotated[str | None, typer.Option(help="Name of the data set (default: the target's).")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a store that an import made.")]
TaskKind = Annotated[str, typer.Option("--task", help="regression or classification.")]
Scale = Annotated[
    str | None, typer.Option(help="mosi (labels in [-3, 3]), sims ([-1, 1]) or plain (with --range).")
]
Range = Annotated[
    tuple[float, float] | None, typer.Option("--range", help="Lowest and highest possible score (plain).")
]
Classes = Annotated[str | None, typer.Option(help="Names of the classes in order, separated by commas.")]
LabelMap = Annotated[list[str] | None, typer.Option(help="RAW=MEANING,…: what labels in the file stand for.")]
DropLabel = Annotated[list[str] | None, typer.Option(help="Leave out samples with this label; repeat.")]
Nan = Annotated[str, typer.Option(help="NaN and infinite values: refuse, zero or drop-step.")]
Empty = Annotated[str, typer.Option(help="Samples without any step: refuse or drop.")]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encode-text",
        help="Encode transcripts: minilm, mpnet, hub:NAME or folder:PATH, with /embeddings behind it for vectors "
        "without context; words, or words:STORE for its vocabulary.",
    ),
]
NumWords = Annotated[
    int | None,
    typer.Option(
        min=1, max=100_000, help="words: how many of the commonest training words have an id (default: 300)."
    ),
]
LexiconName = Annotated[
    str | None,
    typer.Option("--lexicon", help="words: what a lexicon says of each word, beside its id: vader."),
]
TextUnit = Annotated[
    str, typer.Option(help="One vector per token or per word: tokens or words; or ids, for fine-tuning.")
]
Lowercase = Annotated[bool, typer.Option("--lowercase", help="Encode in lower case.")]
Modality = Annotated[list[str] | None, typer.Option(help="Modality to take; repeat (default: all).")]
GroupPattern = Annotated[
    str | None, typer.Option(help="Regular expression whose first parenthesis finds the group in the id.")
]


@import_app.command()
def table(
    source: Source,
    to: Target,
    feature: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE[:ARRAY][@OFFSETS][@@TIMES][#IDS]; repeat (see docs/data.md)."),
    ] = None,
    id_column: Annotated[list[str] | None, typer.Option(help="Column of ids; repeated, joined by _.")] = None,
    label_column: Annotated[str, typer.Option(help="Column of labels.")] = "label",
    no_labels: Annotated[bool, typer.Option("--no-labels", help="The samples are unlabelled.")] = False,
    split_column: Annotated[str | None, typer.Option(help="Column of train, valid, test.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Column of speakers, videos …")] = None,
    group_pattern: GroupPattern = None,
    fold_column: Annotated[str | None, typer.Option(help="Column of official folds.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of transcripts.")] = None,
    text_words: Annotated[
        str | None, typer.Option(help="FILE.npz:WORDS@OFFSETS[@@TIMES]: words of transcripts.")
    ] = None,
    extra_column: Annotated[list[str] | None, typer.Option(help="Further column to keep; repeat.")] = None,
    missing: Annotated[str, typer.Option(help="Samples a feature lacks: refuse or absent.")] = "refuse",
    encode_text: Encoder = None,
    num_words: NumWords = None,
    lexicon: LexiconName = None,
    text_unit: TextUnit = "tokens",
    lowercase: Lowercase = False,
    task: TaskKind = "regression",
    scale: Scale = None,
    score_range: Range = None,
    classes: Classes = None,
    label_map: LabelMap = None,
    drop_label: DropLabel = None,
    nan: Nan = "refuse",
    empty: Empty = "refuse",
    name: Name = None,
    overwrite: Overwrite = False,
    as_json: JsonOption = False,
) -> None:
    """Your own data: a table (csv, tsv, parquet, npz) and one or more features per sample."""
    from qinn.data.importing import TableOptions, TextOptions

    options = TableOptions(
        id_columns=tuple(id_column or ["id"]),
        label_column=None if no_labels else label_column,
        task=_task(task, scale, score_range, classes, label_map, drop_label),
        split_column=split_column,
        group_column=group_column,
        group_pattern=group_pattern,
        fold_column=fold_column,
        text_column=text_column,
        words=text_words,
        text=TextOptions(unit=text_unit, lowercase=lowercase),
        features=tuple(feature or ()),
        extra_columns=tuple(extra_column or ()),
        nan=nan,
        missing=missing,
        empty=empty,
    )
    _import(source, to, options, name, overwrite, as_json, encoder=(encode_text, num_words, lexicon))


@import_app.command()
def mmsa(
    source: Source,
    to: Target,
    modality: Modality = None,
    text_source: Annotated[
        str,
        typer.Option(help="vectors, encode (with --encode-text) or ids (which may name their tokenizer)."),
    ] = "vectors",
    label_key: Annotated[str | None, typer.Option(help="Other labels, say regression_labels_A.")] = None,
    group_pattern: GroupPattern = None,
    encode_text: Encoder = None,
    num_words: NumWords = None,
    lexicon: LexiconName = None,
    text_unit: TextUnit = "tokens",
    lowercase: Lowercase = False,
    task: TaskKind = "regression",
    scale: Scale = None,
    score_range: Range = None,
    classes: Classes = None,
    label_map: LabelMap = None,
    drop_label: DropLabel = None,
    nan: Nan = "refuse",
    empty: Empty = "refuse",
    name: Name = None,
    overwrite: Overwrite = False,
    as_json: JsonOption = False,
) -> None:
    """A pickle of the MMSA framework: MOSI, MOSEI, CH-SIMS; aligned or unaligned."""
    from qinn.data.importing import MmsaOptions, TextOptions

    options = MmsaOptions(
        modalities=tuple(modality or ("text", "audio", "vision")),
        text_source=text_source,
        text=TextOptions(unit=text_unit, lowercase=lowercase),
        task=_task(task, scale, score_range, classes, label_map, drop_label),
        label_key=label_key,
        group_pattern=group_pattern,
        nan=nan,
        empty=empty,
    )
    _import(source, to, options, name, overwrite, as_json, encoder=(encode_text, num_words, lexicon))


@import_app.command()
def mult(
    source: Source,
    to: Target,
    modality: Modality = None,
    label_index: Annotated[
        int | None, typer.Option(min=0, max=2**20, help="Which label, from 0, where there are several.")
    ] = None,
    group_pattern: GroupPattern = None,
    task: TaskKind = "regression",
    scale: Scale = None,
    score_range: Range = None,
    classes: Classes = None,
    label_map: LabelMap = None,
    drop_label: DropLabel = None,
    nan: Nan = "refuse",
    empty: Empty = "refuse",
    name: Name = None,
    overwrite: Overwrite = False,
    as_json: JsonOption = False,
) -> None:
    """A pickle of the MulT, MultiBench or LMF code: mosi_data.pkl, mosei_senti_data_noalign.pkl …."""
    from qinn.data.importing import MultOptions

    if scale is None and score_range is None and task == "regression":
        scale = "mosi"
    options = MultOptions(
        modalities=tuple(modality) if modality else None,
        task=_task(task, scale, score_range, classes, label_map, drop_label),
        label_index=label_index,
        group_pattern=group_pattern,
        nan=nan,
        empty=empty,
    )
    _import(source, to, options, name, overwrite, as_json)


@import_app.command()
def misa(
    source: Source,
    to: Target,
    modality: Modality = None,
    split: Annotated[str, typer.Option(help="Split of a single file.")] = "",
    group_pattern: GroupPattern = None,
    encode_text: Encoder = None,
    num_words: NumWords = None,
    lexicon: LexiconName = None,
    lowercase: Lowercase = False,
    scale: Scale = "mosi",
    score_range: Range = None,
    nan: Nan = "refuse",
    empty: Empty = "refuse",
    name: Name = None,
    overwrite: Overwrite = False,
    as_json: JsonOption = False,
) -> None:
    """Word-aligned pickles of the MISA code: train.pkl, dev.pkl, test.pkl, or one of them."""
    from qinn.data.importing import MisaOptions, TextOptions

    options = MisaOptions(
        modalities=tuple(modality or ("text", "audio", "vision")),
        task=_task("regression", scale, score_range, None, None, None),
        text=TextOptions(unit="words", lowercase=lowercase),
        split=split,
        group_pattern=group_pattern or MisaOptions.group_pattern,
        nan=nan,
        empty=empty,
    )
    _import(source, to, options, name, overwrite, as_json, encoder=(encode_text, num_words, lexicon))


@import_app.command()
def mfn(
    source: Source,
    to: Target,
    modality: Modality = None,
    scale: Scale = None,
    score_range: Range = None,
    nan: Nan = "refuse",
    empty: Empty = "refuse",
    name: Name = None,
    overwrite: Overwrite = False,
    as_json: JsonOption = False,
) -> None:
    """One HDF5 file per modality and split: audio_train.h5 … y_test.h5."""
    from qinn.data.importing import MfnOptions

    options = MfnOptions(
        task=_task("regression", scale, score_range, None, None, None),
        modalities=tuple(modality) if modality else None,
        nan=nan,
        empty=empty,
    )
    _import(source, to, options, name, overwrite, as_json)


@import_app.command()
def csd(
    source: Source,
    to: Target,
    feature: Annotated[list[str] | None, typer.Option(help="NAME=FILE.csd; repeat.")] = None,
    words: Annotated[Path | None, typer.Option(help="FILE.csd of timed words: the transcripts.")] = None,
    pause: Annotated[
        list[str] | None, typer.Option(help="What stands for silence among the words; repeat (default: sp).")
    ] = None,
    align_to: Annotated[
        str, typer.Option(help="words or a feature's NAME: one step of everything in each of its intervals.")
    ] = "",
    collapse: Annotated[
        str, typer.Option(help="Several steps in one interval: mean, weighted or max.")
    ] = "mean",
    gaps: Annotated[str, typer.Option(help="Intervals without a step: zero or absent.")] = "zero",
    assign: Annotated[
        str, typer.Option(help="Steps of a segment: by midpoint, or overlap as in the SDK.")
    ] = "midpoint",
    splits: Annotated[
        str | None, typer.Option(help="mosi, a table with video and split, or a .json or .py file of lists.")
    ] = None,
    unlisted: Annotated[str, typer.Option(help="Videos without a split: refuse or drop.")] = "refuse",
    label_column: Annotated[
        int, typer.Option(min=0, max=2**20, help="Which column of the labels, from 0.")
    ] = 0,
    encode_text: Encoder = None,
    num_words: NumWords = None,
    lexicon: LexiconName = None,
    lowercase: Lowercase = False,
    scale: Scale = None,
    score_range: Range = None,
    nan: Nan = "refuse",
    empty: Empty = "refuse",
    name: Name = None,
    overwrite: Overwrite = False,
    as_json: JsonOption = False,
) -> None:
    """Computational sequences of the CMU-MultimodalSDK: labels, and features put together by time."""
    from qinn.data.importing import CsdOptions, TextOptions, parse_pairs

    if scale is None and score_range is None:
        scale = "mosi"
    options = CsdOptions(
        features=dict(parse_pairs(feature or [], "feature")),
        task=_task("regression", scale, score_range, None, None, None),
        label_column=label_column,
        splits=splits,
        unlisted=unlisted,
        words=words,
        pauses=tuple(pause) if pause else ("sp",),
        align_to=align_to,
        collapse=collapse,
        gaps=gaps,
        assign=assign,
        text=TextOptions(unit="words", lowercase=lowercase),
        nan=nan,
        empty=empty,
    )
    _import(source, to, options, name, overwrite, as_json, encoder=(encode_text, num_words, lexicon))


def _task(
    kind: str,
    scale: str | None,
    score_range: tuple[float, float] | None,
    classes: str | None,
    label_map: list[str] | None,
    drop_label: list[str] | None,
) -> Any:
    from qinn.data.importing import TaskOptions, parse_pairs

    low, high = score_range or (None, None)
    return TaskOptions(
        kind=kind,
        scale=scale,
        low=low,
        high=high,
        classes=tuple(part.strip() for part in classes.split(",")) if classes else (),
        label_map=parse_pairs(label_map or [], "label_map"),
        drop_labels=tuple(drop_label or ()),
    )


def _import(
    source: Path,
    target: Path,
    options: Any,
    name: str | None,
    overwrite: bool,
    as_json: bool,
    *,
    encoder: tuple[str | None, int | None, str | None] = (None, None, None),
) -> None:
    from qinn.data.importing import describe_import, import_data
    from qinn.data.stores.writing import check_store_place

    check_store_place(target, "qinn data import", overwrite=overwrite, inputs=[source])
    loaded = None
    if any(option is not None for option in encoder):
        from qinn.experiment.text_encoders import load_encoder

        encode_text, num_words, lexicon = encoder
        loaded = load_encoder(encode_text or "", num_words=num_words, lexicon=lexicon)
    with progress_bar("samples") as (bar, task):
        store = import_data(
            source,
            target,
            options,
            encoder=loaded,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            name=name,
            overwrite=overwrite,
        )
    if as_json:
        print_json(store.manifest)
        return
    note(f"wrote {target}: {len(store)} samples; this is what was understood:")
    for line in describe_import(store):
        note(f"  {line}")

"""Transcripts in a text file for each sample."""

from pathlib import Path

from qinn.data.importing.feature_reader import Named, joint_source
from qinn.data.stores.manifest import Source
from qinn.errors import ConfigError, DataError
from qinn.opening import read_small_text

__all__ = ["read_text_files"]

_MOST_BYTES = 2**20


def read_text_files(template: str, samples: Named, *, absent: str) -> tuple[list[str], Source]:
    """Read the transcript of every sample, its white space made single spaces.

    Args:
        template: Path in which ``{column}`` stands for what a column of the table says of a sample.
        samples: The samples.
        absent: What to do about a sample without a file: ``"refuse"`` it, or ``"allow"`` that it says nothing.

    Returns:
        The transcripts, and what was read.

    Raises:
        ConfigError: If the path is the same for all samples, or names no column of the table.
        DataError: If a file is missing, longer than 1 MiB, or no text in UTF-8.
    """
    if "{" not in template:
        raise ConfigError(
            f"Option `text_files` must have a column in its path, as in {Path(template).with_suffix('')}/{{id}}.txt, "
            f"but it is `{template}`."
        )
    texts, sources = [], {}
    for row, name in enumerate(samples.ids):
        path = Path(samples.file(template, row))
        if not path.exists():
            if absent == "refuse":
                raise DataError(
                    f"`{path}`, the transcript of sample `{name}`, does not exist; add it, or import with "
                    "`--absent-features allow`."
                )
            texts.append("")
            continue
        try:
            texts.append(" ".join(read_small_text(path, _MOST_BYTES, encoding="utf-8-sig").split()))
        except OSError as error:
            raise DataError(f"`{path}` can't be read: {error.strerror or error}.") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"`{path}` is not text in UTF-8 (byte {error.start}); save it as UTF-8."
            ) from error
        sources[name] = Source.of(path)
    if not sources:
        raise DataError(
            f"`{template}` names no file that exists (`{samples.file(template, 0)}` for sample `{samples.ids[0]}`); "
            "correct the path."
        )
    return texts, joint_source(template, sources)

"""Write the tables of options in docs/data.md, which follow from the options' classes.

    python benchmarks/option_tables.py

A layout that the page does not have yet gets a section above that of the official sizes.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from qinn.data.importing import LAYOUTS
from qinn.data.importing.reader import COMMON, ImportOptions
from qinn.data.importing.transcripts import EncoderOptions, TextOptions
from qinn.stated_options import Option, options_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "data.md"
BEGIN, END = "<!-- options of {}: made by benchmarks/option_tables.py -->\n", "<!-- end of options -->\n"
LAST = "\n## Every layout at its official size\n"


def tables() -> dict[str, str]:
    """Return the tables by what they are of: every layout, text, and each layout with options of its own."""
    found = {
        "every layout": options_of(ImportOptions),
        "text": [*options_of(EncoderOptions), *options_of(TextOptions)],
    }
    for name, layout in LAYOUTS.items():
        own = [one for one in options_of(layout.options) if one.place[0] not in (*COMMON, "text")]
        if own:
            found[name] = own
    return {name: table(options) for name, options in found.items()}


def table(options: Iterable[Option]) -> str:
    """Return a table in Markdown."""
    rows = [("option", "meaning"), ("---", "---")]
    for one in options:
        typed = [
            f"{one.flag} {one.value}".strip(),
            *(["--" + one.off[0].replace("_", "-")] if one.off else []),
        ]
        rows.append((", ".join(f"`{part}`" for part in typed), one.meaning))
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def written(page: str) -> str:
    """Return a page with its tables as they are now."""
    for name, lines in tables().items():
        begin = BEGIN.format(name)
        if begin not in page:
            section = f"\n## `{name}`\n\n{LAYOUTS[name].help}\n\n{begin}{END}"
            page = page.replace(LAST, section + LAST)
        page = re.sub(
            re.escape(begin) + r".*?" + re.escape(END),
            lambda _, new=begin + lines + END: new,
            page,
            flags=re.S,
        )
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

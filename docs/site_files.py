"""Hook of mkdocs: pages and files that lie beside the folder of the documentation become part of the site.

The documents link to each other as they do in the repository, where README.md is above docs/. In the site docs/ is the
root: what is above it is put there too, and links to it lose what led out of the folder.
"""

import re
from os.path import relpath
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).resolve().parents[1]
_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "benchmarks/README.md": "benchmarks/README.md",
    "tests/README.md": "tests/README.md",
}
_COPIED = ("LICENSE", "configs/*.yaml", "benchmarks/results/*.json")
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add what lies beside the folder."""
    for source, place in _PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(_ROOT / source)))
    for pattern in _COPIED:
        for path in sorted(_ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(_ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let the links of a document lead to where the site has their targets."""
    place = page.file.src_uri
    source = next((one for one, other in _PAGES.items() if other == place), f"docs/{place}")
    folder = Path(place).parent

    def moved(match: re.Match[str]) -> str:
        before, link, after = match.groups()
        if re.match(r"[a-z]+:", link):
            return match[0]
        target = (_ROOT / source).parent / link
        try:
            inside = target.resolve().relative_to(_ROOT).as_posix()
        except ValueError:
            return match[0]
        found = _PAGES.get(inside, inside.removeprefix("docs/"))
        return f"{before}{Path(relpath(found, folder)).as_posix()}{after}"

    return _LINK.sub(moved, markdown)

"""The code of the tour's section for Python users runs as it stands and prints what the page says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tour.md"
SECTION = re.compile(r"^## Three lines\n(.*?)^## ", re.M | re.S)
CODE = re.compile(r"```python\n(.*?)```\n```\n(.*?)```", re.S)


@pytest.mark.slow
def test_the_three_lines_print_what_the_page_says(tmp_path, monkeypatch):
    (section,) = SECTION.findall(PAGE.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    blocks = CODE.findall(section)
    assert len(blocks) == section.count("```python")
    for code, output in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(PAGE), "exec"), namespace)
        assert printed.getvalue() == output

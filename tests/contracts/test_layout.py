"""The shape of the source: no two files of one name in a package, and no circle of imports."""

from collections import Counter
from pathlib import Path

import grimp
import pytest

import qinn

SOURCE = Path(qinn.__file__).parent
READER_AND_WRITER = {"mmsa.py", "parquet.py"}
"""Formats that are read and written, each in a file of its own."""


@pytest.mark.parametrize("package", ["data", "quantum"])
def test_no_two_files_have_one_name(package):
    names = Counter(path.name for path in (SOURCE / package).rglob("*.py"))
    twice = {name for name, count in names.items() if count > 1}
    assert twice <= {"__init__.py", *READER_AND_WRITER}


def test_no_modules_import_each_other_in_a_circle():
    graph = grimp.build_graph("qinn")
    imports = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while free := [module for module, below in imports.items() if not below & set(imports)]:
        for module in free:
            del imports[module]
    assert not imports, f"a circle among {sorted(imports)}"

"""What CITATION.cff says is what the project file and the references say."""

import tomllib

import yaml

import qinn

from .base import ROOT


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cited["version"] == project["version"] == qinn.__version__
    assert cited["license"] == project["license"]
    [paper] = cited["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2510.27091"
    references = (ROOT / "docs" / "references.md").read_text(encoding="utf-8")
    assert paper["title"] in " ".join(references.split())

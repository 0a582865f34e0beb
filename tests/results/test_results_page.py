"""The pages of results say of every published model what its run warns of, and where nothing was recorded."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = {
    path.stem: content
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    for content in [json.loads(path.read_text(encoding="utf-8"))]
    if isinstance(content, dict) and content.get("format") in ("qinn-comparison", "qinn-missing-sweep")
}


@pytest.fixture(scope="module")
def sections():
    pages = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "results").glob("*.md"))]
    return [" ".join(section.split()) for page in pages for section in re.split(r"\n(?=##+ )", page)]


@pytest.mark.parametrize("name", RESULTS)
def test_no_published_table_leaves_out_what_is_known_of_the_dynamics(name, sections):
    file = "untuned-NAME" if name.startswith("untuned-") else name
    [section] = [one for one in sections if f"`benchmarks/results/{file}.json`" in one]
    models = RESULTS[name]["models"].values()
    for model in models:
        for remark in model.get("remarks", []):
            assert remark in section
    if any(model["model"] == "qinn" for model in models) and not any(
        model.get("dynamics") for model in models
    ):
        assert "Whether the dynamics act was not recorded" in section

"""The page: self-contained, complete, escaped, and true to the files that it is made from."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from qinn.errors import ArgumentError, CheckpointError, QinnError
from qinn.report.page import read_results, write_report
from qinn.results.comparison import COMPARISON_FILE
from qinn.results.number_text import interval, number
from qinn.results.run import read_run
from qinn.task import Task

HOSTILE = "<script>alert(1)</script>\"'&amp;<img src=http://evil.example/x onerror=alert(2)>"
INSIDE = ("#", "data:image/png;base64,")
EMPTY_ELEMENTS = {"meta", "path", "use", "rect", "circle", "line", "image", "br", "link", "img"}


class Page(HTMLParser):
    """Every element, its attributes and the text of a page, as a browser would see them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.parts: list[str] = []
        self.styles = ""
        self.open: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in EMPTY_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles += data
        else:
            self.parts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.parts).split())

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    def headings(self, level: int) -> list[str]:
        return re.findall(rf"<h{level}[^>]*>(.*?)</h{level}>", self.source)


@pytest.fixture(scope="module")
def comparison_page(comparison: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_report([comparison], tmp_path_factory.mktemp("page") / "report.html"))


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[..., Page]:
    return lambda *paths, **options: Page(write_report(paths, tmp_path / "report.html", **options))


def test_page_asks_for_nothing_outside(comparison_page: Page) -> None:
    for tag, attributes in comparison_page.elements:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag}> runs code on {name}"
            if name in {"src", "href", "xlink:href", "data", "srcset", "action", "poster"}:
                assert value.startswith(INSIDE), f"<{tag} {name}={value}> leads outside"
            assert "url(" not in value or "url(#" in value
    every_style = comparison_page.styles + "".join(re.findall(r"<style.*?</style>", comparison_page.source))
    assert "@import" not in every_style
    assert "url(" not in comparison_page.styles
    assert "http:" not in comparison_page.source
    assert "https:" not in comparison_page.source


def test_browser_is_told_to_refuse_outside_requests(comparison_page: Page) -> None:
    policies = [a["content"] for tag, a in comparison_page.elements if "http-equiv" in a]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_every_id_is_unique_and_every_internal_link_has_its_target(comparison_page: Page) -> None:
    ids = [attributes["id"] for _, attributes in comparison_page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', comparison_page.source))
    assert targets
    assert targets <= set(ids)


def test_comparison_page_has_every_section(comparison_page: Page) -> None:
    assert comparison_page.headings(2) == ["Comparison: demo comparison", "Run: QiNN-QJ, seed 0 (demo)"]
    assert comparison_page.headings(3) == [
        "What was run",
        "Results",
        "What the metrics mean",
        "How the runs were trained",
        "What was run",
        "Metrics",
        "Training",
        "Predictions",
        "How sure it is",
        "Entanglement and correlation",
        "Counterfactuals",
        "Samples explained",
    ]


@pytest.mark.parametrize(
    "stated",
    [
        "a" * 64,
        "0123456789abcdef0123456789abcdef01234567",
        "qinn 0.1.0, python 3.12.0, torch 2.5.0",
        "Linux, x86_64, 2 cores",
        "qinn compare configs/demo.yaml",
        "regression on [−3, 3], conventions: mosi",
        "text (8 features per step)",
        "1,284",
        "accuracy, negative (&lt; 0) vs non-negative (≥ 0), all samples; higher is better",
        "learning_rate: 0.002",
    ],
)
def test_page_states_what_was_run(comparison_page: Page, stated: str) -> None:
    assert stated in comparison_page.source


def test_tables_and_figures_are_numbered_in_order_and_captioned(comparison_page: Page) -> None:
    for kind in ("Table", "Figure"):
        numbers = [int(n) for n in re.findall(rf"<b>{kind} (\d+)\.</b> \S", comparison_page.source)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= 5


def test_page_can_be_read_aloud(comparison_page: Page) -> None:
    assert ("html", {"lang": "en"}) in comparison_page.elements
    for tag, attributes in comparison_page.elements:
        if tag == "th":
            assert attributes["scope"] in {"col", "row"}
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]


def test_numbers_of_the_comparison_are_those_of_its_file(comparison: Path, comparison_page: Page) -> None:
    content = json.loads((comparison / COMPARISON_FILE).read_text())
    for label, entry in content["models"].items():
        row = _row(comparison_page, "table-1", label)
        for value in entry["metrics"].values():
            if value["mean"] is None:
                assert "undefined" in row
            else:
                assert f"{number(value['mean'])} ± {number(value['sd'])}" in row
                assert interval(value["low"], value["high"]) in row
    for label, tests in content["paired"].items():
        row = _row(comparison_page, "table-2", label)
        for test in tests.values():
            assert number(test["difference"], signed=True) in row


def test_numbers_of_a_run_are_those_of_its_metrics(comparison: Path, comparison_page: Page) -> None:
    stored = json.loads((comparison / "model-0" / "seed-0" / "metrics.json").read_text())
    for name, value in stored["test"].items():
        row = _row(comparison_page, "table-4", name)
        assert f"<td>{number(value['value'])}</td>" in row
        assert f"<td>{interval(value['low'], value['high'])}</td>" in row
        assert f"<td>{number(stored['valid'][name]['value'])}</td>" in row


def _row(page: Page, table: str, heading: str) -> str:
    body = page.source.split(f'id="{table}"')[1].split("</table>")[0]
    rows = [row for row in body.split("<tr>") if row.startswith(f'<th scope="row">{heading}<')]
    assert len(rows) == 1
    return rows[0]


def test_page_is_the_same_for_the_same_folders(
    comparison: Path, comparison_page: Page, page_of: Callable[..., Page]
) -> None:
    again = page_of(comparison, comparison, comparison / "model-0" / "seed-0", include_text=True)
    assert again.source == comparison_page.source


def test_named_runs_are_shown_in_the_order_of_their_names(comparison: Path) -> None:
    named = [comparison / "model-2" / "seed-1", comparison, comparison / "model-1" / "seed-0"]
    comparisons, runs = read_results(named)
    assert [result.name for result in comparisons] == ["demo comparison"]
    assert [run.title for run in runs] == ["constant, seed 1", "QiNN-QJ, seed 0", "late fusion, seed 0"]


def test_untrained_constant_and_deterministic_run_says_so(
    comparison: Path, comparison_page: Page, page_of: Callable[..., Page]
) -> None:
    page = page_of(comparison / "model-2" / "seed-1")
    assert page.headings(2) == ["Run: constant, seed 1 (demo)"]
    assert page.headings(3) == ["What was run", "Metrics", "Training", "Predictions"]
    assert "This model has nothing to train by gradient" in page.text
    assert "<td>undefined</td>" in _row(page, "table-1", "corr")
    assert "surer than it should be" not in page.text
    assert "surer than it should be" in comparison_page.text


def test_a_run_without_validation_samples_shows_no_intervals(
    make_run: Callable[..., Path], page_of: Callable[..., Page], comparison_page: Page
) -> None:
    assert "90 % interval" in comparison_page.text
    page = page_of(make_run(trained=False))
    assert "How sure it is" not in page.headings(3)
    assert "90 % interval" not in page.text


@pytest.mark.parametrize("stochastic", [True, False])
def test_what_chance_does_within_a_model_stands_beside_no_score(
    stochastic: bool, make_run: Callable[..., Path], page_of: Callable[..., Page]
) -> None:
    assert "±" not in page_of(make_run(stochastic=stochastic)).text


def test_classification_run_shows_classes_folds_and_groups(
    make_run: Callable[..., Path], emotions: Task, page_of: Callable[..., Page]
) -> None:
    run = make_run(task=emotions, num_folds=3, num_groups=4)
    page = page_of(run)
    assert "classification into calm, happy, angry" in page.text
    assert "Confusion matrix" in page.text
    assert "40 in 4 groups" in page.text
    assert "drawing whole groups" in page.text
    assert "3; each test sample is predicted by the fold that did not see it" in page.text
    assert "probability of the predicted class" in page.text
    assert all(f"speaker {fold}" in page.text for fold in range(3))


def test_hostile_names_stay_text(make_run: Callable[..., Path], page_of: Callable[..., Page]) -> None:
    task = Task("classification", classes=(HOSTILE, "$\\frac{$", "快乐"))
    run = make_run(
        task=task,
        label=HOSTILE,
        trained=False,
        ids=tuple(f"{HOSTILE}{row}" for row in range(40)),
        num_folds=2,
    )
    page = page_of(run)
    assert not page.tags & {"script", "img"}
    assert HOSTILE in page.text
    assert all(a["xlink:href"].startswith(INSIDE) for _, a in page.elements if "xlink:href" in a)
    assert "<script" not in page.source
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_hostile_model_labels_stay_text_in_comparisons(
    make_comparison: Callable[..., Path], page_of: Callable[..., Page]
) -> None:
    page = page_of(
        make_comparison(
            {HOSTILE: {"explained": False}, "$\\frac{$": {"explained": False}, "模型": {"explained": False}}
        )
    )
    assert not page.tags & {"script", "img"}
    assert "$\\frac{$" in page.text


def test_comparison_of_one_model_and_seed_claims_no_test(
    make_comparison: Callable[..., Path], page_of: Callable[..., Page]
) -> None:
    page = page_of(make_comparison({"QiNN-QJ": {"num_groups": 5, "explained": False, "stochastic": False}}))
    assert "one seed, so there is no standard deviation" in page.text
    assert "permutation test" not in page.text
    assert 'class="strong"' not in page.source


@pytest.mark.slow
def test_page_about_two_thousand_samples_is_small(
    make_run: Callable[..., Path], page_of: Callable[..., Page]
) -> None:
    page = page_of(make_run(num_samples=2000, num_folds=5))
    assert len(page.source.encode()) < 5e6


def test_texts_are_shown_only_where_asked_for(
    make_run: Callable[..., Path], page_of: Callable[..., Page], text_store: tuple[str, str]
) -> None:
    store, sha256 = text_store
    run = make_run(store=store, data_sha256=sha256, trained=False, stochastic=False)
    assert read_run(run).texts == {}
    page = page_of(run, include_text=True)
    assert "said <b>loudly</b>" in page.text
    assert "<b>loudly" not in page.source


def test_texts_of_changed_data_are_not_shown(
    make_run: Callable[..., Path], text_store: tuple[str, str]
) -> None:
    store, _ = text_store
    assert read_run(make_run(store=store), include_text=True).texts == {}


def test_report_about_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="at least one run or comparison"):
        write_report([], tmp_path / "report.html")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "run.json").unlink(), "it was interrupted"),
        (lambda run: (run / "metrics.json").unlink(), r"metrics\.json` is missing"),
        (lambda run: (run / "metrics.json").write_text("{}"), "lacks or contradicts something"),
        (lambda run: (run / "metrics.json").write_text("{"), "cannot be read"),
        (lambda run: (run / "predictions.parquet").write_bytes(b"PAR1"), "cannot be read"),
        (lambda run: (run / "config.yaml").write_text("a: ["), r"config\.yaml` cannot be read"),
        (lambda run: (run / "config.yaml").write_text("[]"), "holds no configuration"),
        (lambda run: (run / "config.yaml").write_text("name: x"), "lacks or contradicts something"),
        (lambda run: (run / "folds/000/history.csv").unlink(), r"history\.csv` is missing"),
        (lambda run: (run / "folds/000/history.csv").write_text("epoch\nx\n"), "cannot be read"),
        (lambda run: (run / "explanation.json").write_text("{}"), "lacks or contradicts something"),
    ],
)
def test_damaged_run_is_named_and_leaves_no_page(
    make_run: Callable[..., Path], tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    run = make_run()
    damage(run)
    with pytest.raises(CheckpointError, match=message) as caught:
        write_report([run], tmp_path / "report.html")
    assert str(run) in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        write_report([tmp_path / "nowhere"], tmp_path / "report.html")


def test_comparison_without_one_of_its_runs_is_refused(
    make_comparison: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_comparison({"QiNN-QJ": {}, "late fusion": {"explained": False}})
    (folder / "model-1" / "seed-0" / "run.json").unlink()
    with pytest.raises(CheckpointError, match="model-1"):
        write_report([folder], tmp_path / "report.html")


def test_damaged_comparison_is_named(make_comparison: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_comparison({"QiNN-QJ": {}})
    (folder / COMPARISON_FILE).write_text('{"format": "qinn-comparison", "version": 1}')
    with pytest.raises(CheckpointError, match="repeat the comparison: finished runs are kept"):
        write_report([folder], tmp_path / "report.html")


def test_page_that_cannot_be_written_is_an_error(make_run: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(QinnError, match="Cannot write"):
        write_report([make_run(explained=False)], tmp_path / "file" / "report.html")

"""Figures are valid, self-contained, reproducible SVG that says what it shows; bad input is refused."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from xml.etree import ElementTree

import jaxtyping
import matplotlib as mpl
import numpy as np
import pytest

from qinn.errors import ArgumentError
from qinn.report import comparison_figures, explanation_figures, figure_style, run_figures

GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.uniform(-3.0, 3.0, 60)
EPOCHS = np.arange(1, 11)


def curve(name: str, chosen: int | None = 4) -> run_figures.LearningCurve:
    return run_figures.LearningCurve(name, EPOCHS, 1.0 / EPOCHS, 0.2 + 1.0 / EPOCHS, chosen)


def forest(reference: str | None = "text-only") -> str:
    return comparison_figures.forest_plot(
        ["QiNN-QJ", "text-only", "constant"],
        [0.81, 0.83, None],
        [(0.75, 0.87), (None, None), (None, None)],
        metric="mean absolute error (score)",
        better="lower",
        reference=reference,
    )


DRAWN: dict[str, tuple[Callable[[], str], list[str]]] = {
    "learning curves": (
        lambda: run_figures.learning_curves([curve("fold 1"), curve("fold 2", None)], loss="loss (score)"),
        ["Training", "Validation (dot: chosen epoch)", "epoch", "loss (score)", "fold 1", "fold 2"],
    ),
    "predicted against true": (
        lambda: run_figures.predicted_against_true(
            SCORES, 2.0 * SCORES, low=-3.0, high=3.0, unit="sentiment score"
        ),
        ["true sentiment score", "predicted sentiment score", "predicted = true", "60 samples"],
    ),
    "predicted against true, as density": (
        lambda: run_figures.predicted_against_true(
            np.tile(SCORES, 30), np.tile(SCORES, 30), low=-3.0, high=3.0
        ),
        ["samples per cell", "1800 samples"],
    ),
    "confusion matrix": (
        lambda: run_figures.confusion_figure(
            np.array([[3, 1, 0], [0, 2, 2], [0, 0, 0]]), ["calm", "happy", "sad"]
        ),
        ["predicted class", "true class", "calm", "75%", "share of the true class"],
    ),
    "forest plot": (
        forest,
        ["QiNN-QJ", "text-only", "constant", "undefined", "mean absolute error (score)   (← better)"],
    ),
    "entropies": (
        lambda: explanation_figures.entropy_distributions(
            ["text | audio+vision", "audio | text+vision"], GENERATOR.random((300, 2)), np.array([2.0, 1.0])
        ),
        ["entanglement entropy (bits)", "text | audio+vision", "largest possible", figure_style.READING],
    ),
    "entropies of a product state": (
        lambda: explanation_figures.entropy_distributions(["text | nothing"], np.zeros((5, 1)), np.zeros(1)),
        ["entanglement entropy (bits)"],
    ),
    "counterfactuals": (
        lambda: explanation_figures.counterfactual_shifts(
            ["no jumps", "without text"], GENERATOR.normal(size=(40, 2))
        ),
        ["change of the score when removed", "no jumps", "without text"],
    ),
    "mutual information": (
        lambda: explanation_figures.mutual_information_distributions(
            ["text : audio", "text : vision"], np.stack([SCORES**2, np.full(60, np.nan)], axis=1)
        ),
        ["quantum mutual information (bits)", "text : audio", "undefined"],
    ),
    "coverage": (
        lambda: run_figures.coverage_curve({0.5: 0.4, 0.9: 0.95}),
        ["level", "share of labels inside", "as stated", "on the test samples"],
    ),
}


def texts(svg: str) -> list[str]:
    """Everything that is written in a figure; letters are outlines, but each text is kept as a comment."""
    return [comment.strip() for comment in re.findall(r"<!--(.*?)-->", svg)]


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_says_what_it_shows_in_valid_svg(name: str) -> None:
    draw, expected = DRAWN[name]
    svg = draw()
    element = ElementTree.fromstring(svg)
    assert element.tag == "{http://www.w3.org/2000/svg}svg"
    assert element.get("role") == "img"
    assert element.get("aria-label")
    written = texts(svg)
    for text in expected:
        assert text in written, written


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_needs_nothing_from_outside(name: str) -> None:
    svg = DRAWN[name][0]()
    links = re.findall(r'(?:href|src)\s*=\s*"([^"]*)"|url\(([^)]*)\)', svg)
    targets = [link for pair in links for link in pair if link]
    assert all(target.startswith(("#", "data:")) for target in targets), targets
    assert "<script" not in svg


def test_the_same_input_gives_the_same_figure_and_leaves_no_global_state() -> None:
    before = dict(mpl.rcParams)
    assert forest() == forest()
    assert forest() != forest(reference=None)
    assert dict(mpl.rcParams) == before


def test_drawing_does_not_import_pyplot() -> None:
    code = (
        "import sys, numpy, qinn.report.explanation_figures as f; "
        "f.counterfactual_shifts(['x'], numpy.ones((3, 1))); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_names_with_markup_cannot_break_the_page() -> None:
    svg = comparison_figures.forest_plot(
        ['<b>&"x"'], [0.5], [(0.4, 0.6)], metric='a < "b" & c', better="higher"
    )
    element = ElementTree.fromstring(svg)
    assert element.get("aria-label", "").startswith('a < "b" & c of 1 models')
    assert "<b>" not in svg


def points(svg: str) -> int:
    """Number of markers drawn in the figure (letters are of other groups)."""
    return len(re.findall(r'<use xlink:href="#m', svg))


def test_only_the_chosen_epochs_are_marked() -> None:
    with_choice = run_figures.learning_curves([curve("a", 4)])
    without = run_figures.learning_curves([curve("a", None)])
    assert points(with_choice) == points(without) + 1


def test_every_sample_is_a_point_while_they_are_few() -> None:
    few = run_figures.predicted_against_true(SCORES, SCORES, low=-3.0, high=3.0)
    one = run_figures.predicted_against_true(SCORES[:1], SCORES[:1], low=-3.0, high=3.0)
    assert points(few) == points(one) + 59


def test_many_curves_are_drawn_alike_and_few_differ_by_colour_and_dash() -> None:
    many = run_figures.learning_curves([curve(f"seed {index}") for index in range(9)])
    assert "seed 0" not in texts(many)
    few = run_figures.learning_curves([curve("seed 0"), curve("seed 1")])
    assert {colour.lower() in few for colour in figure_style.PALETTE[:2]} == {True}
    assert "stroke-dasharray" in few.split("seed 0")[0]


def test_distributions_draw_a_bounded_number_of_samples() -> None:
    large = explanation_figures.counterfactual_shifts(["a"], GENERATOR.normal(size=(5000, 1)))
    small = explanation_figures.counterfactual_shifts(
        ["a"], GENERATOR.normal(size=(figure_style.MOST_DOTS, 1))
    )
    assert abs(points(large) - points(small)) < 10


def relative_luminance(colour: str) -> float:
    """Luminance of a colour by the definition of the web content accessibility guidelines."""
    channels = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255.0
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", [figure_style.BLUE, figure_style.VERMILLION, figure_style.GREY])
def test_the_main_colours_stand_out_from_white(colour: str) -> None:
    assert 1.05 / (relative_luminance(colour) + 0.05) > 3.0


REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "no curves": (lambda: run_figures.learning_curves([]), "`curves` must hold at least one training"),
    "no samples": (
        lambda: run_figures.predicted_against_true(SCORES[:0], SCORES[:0], low=-3.0, high=3.0),
        "`labels` must hold at least one sample",
    ),
    "classes that do not fit": (
        lambda: run_figures.confusion_figure(np.ones((2, 2), dtype=int), ["a", "b", "c"]),
        r"`counts` must have shape \(3, 3\) for 3 classes, but its shape is \(2, 2\)",
    ),
    "models without values": (
        lambda: comparison_figures.forest_plot(["a", "b"], [1.0], [(0.0, 2.0)], metric="x", better="lower"),
        "lengths are 2, 1 and 1",
    ),
    "an unknown reference": (lambda: forest("tfn"), "`reference` must be one of .* but it is `tfn`"),
    "cuts that do not fit": (
        lambda: explanation_figures.entropy_distributions(["a"], np.ones((3, 2)), np.ones(1)),
        r"`entropy` must have shape \(n, 1\)",
    ),
    "maxima that do not fit": (
        lambda: explanation_figures.entropy_distributions(["a"], np.ones((3, 1)), np.ones(2)),
        "`maximum` must hold one value for each of 1 cuts, but it holds 2",
    ),
    "no removals": (
        lambda: explanation_figures.counterfactual_shifts([], np.ones((3, 0))),
        r"`shifts` must have shape \(n, 0\)",
    ),
    "pairs that do not fit": (
        lambda: explanation_figures.mutual_information_distributions(["a", "b"], np.ones((3, 1))),
        r"but its shape is \(3, 1\)",
    ),
}


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """No shape checks by annotation, as for a user: the figure itself must refuse."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_drawn_is_refused(case: str) -> None:
    call, message = REFUSALS[case]
    with pytest.raises(ArgumentError, match=message):
        call()

"""What `qinn tune` found, on the page: the budget and the best of each model, and every trial."""

import numpy as np

from qinn.report.facts import data_facts, provenance_facts
from qinn.report.figure_style import BLUE, GREY, new_figure, plain, styled, to_svg
from qinn.report.numbering import Numbering
from qinn.report.sections import Part, Section
from qinn.results.number_text import counted
from qinn.results.tuning import TunedModel, TuningResult

__all__ = ["best_so_far", "tuning_section"]

_DRAWN = 6  # models; the tables have them all


def tuning_section(result: TuningResult, anchor: str, numbering: Numbering) -> Section:
    """Return everything about a tuning: what was searched, the best of each model, all trials."""
    facts = [
        ("folder", result.folder.name),
        *data_facts(result.data),
        ("models", ", ".join(result.models)),
        ("budget", f"{counted(result.num_trials, 'trial')} of each model, the first as it is configured"),
        ("seed", str(result.seed)),
        *provenance_facts(result),
    ]
    drawn = dict(list(result.models.items())[:_DRAWN])
    figures = {
        f"validation value of every trial of {label}": trials_plot(one) for label, one in drawn.items()
    }
    parts = [
        Part("What was searched", facts=facts),
        Part(
            "What was found",
            exhibits=[
                *numbering.table(result.table()),
                *numbering.figure(
                    figures,
                    f"The validation value of every trial of {', '.join(drawn)}, in this order (points; a trial that "
                    "failed has none), and the best so far (line).",
                ),
            ],
        ),
        Part(
            "Every trial", exhibits=[one for table in result.trial_tables() for one in numbering.table(table)]
        ),
    ]
    return Section(anchor, f"Tuning: {result.name}", parts)


def _values(model: TunedModel) -> np.ndarray:
    return np.array([np.nan if one.value is None else one.value for one in model.trials], float)


def best_so_far(model: TunedModel) -> np.ndarray:
    """Return the best value up to each trial; NaN as long as all failed."""
    best_of = np.fmin if model.direction == "min" else np.fmax
    return best_of.accumulate(_values(model))


@styled
def trials_plot(model: TunedModel) -> str:
    """Draw the values of a model's trials and the best so far.

    Args:
        model: The trials.

    Returns:
        SVG text.
    """
    values = _values(model)
    figure, (axes,) = new_figure(3.2, 2.2)
    axes.plot(range(len(values)), values, "o", markersize=4, color=GREY)
    axes.step(range(len(values)), best_so_far(model), where="post", linewidth=1.2, color=BLUE)
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{plain(model.monitor)} {'↓' if model.direction == 'min' else '↑'}")
    return to_svg(figure, f"{model.monitor} of {counted(len(values), 'trial')}")

"""Many systems run one after the other: what a loop over them would give, as one state."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from qinn.errors import ArgumentError
from qinn.quantum.generators.alignment import Alignment
from qinn.quantum.generators.interface import Generator
from qinn.quantum.states.ensembles import JumpRecord, MixedState, PureEnsemble, State
from qinn.quantum.states.trajectory_course import TrajectoryCourse


def evolve_each(
    evolve: Callable[[Any, Any, int], State],
    initial: State,
    generator: Generator,
    systems: torch.Size,
) -> State:
    """Evolve under one system after the other, all states of each together.

    Args:
        evolve: Evolves states under a single system, whose number it is told.
        initial: Trajectories or densities.
        generator: Many systems.
        systems: Leading axes of the systems, to which those of the generator are broadcast.

    Returns:
        The states of all, with the leading axes of both.

    Raises:
        ArgumentError: If the axes do not fit, or states of this kind cannot be put together.
    """
    aligned = Alignment.of(systems, initial.batch, "initial")
    if aligned.batch.numel() == 0:
        return initial.for_systems(systems)
    given = _apart(initial, aligned)
    return _joined(
        [
            evolve(*each, number)
            for number, each in enumerate(zip(given, generator.apart(aligned), strict=True))
        ],
        aligned,
    )


def evolve_each_along(
    evolve: Callable[[Any, Any, int], tuple[State, JumpRecord | None]],
    initial: State,
    generator: Generator,
    systems: torch.Size,
) -> tuple[State, JumpRecord | None]:
    """Do as `evolve_each` for states of many times, times first, and their records."""
    aligned = Alignment.of(systems, initial.batch, "initial")
    given = _apart(initial, aligned)
    found = [
        evolve(*each, number) for number, each in enumerate(zip(given, generator.apart(aligned), strict=True))
    ]
    records = [record for _, record in found if record is not None]
    course = _joined([course for course, _ in found], aligned, before=1)
    return course, _joined_record(records, aligned) if records else None


def _apart(initial: State, aligned: Alignment) -> list[State]:
    """The states of each system."""
    if isinstance(initial, MixedState):
        return [
            MixedState(each, validate=False) for each in aligned.gathered(initial.density_matrix).unbind()
        ]
    if not isinstance(initial, PureEnsemble):
        raise ArgumentError(
            "Argument `initial` must be a pure ensemble or a mixed state for systems that run one after the other, but "
            f"it is a `{type(initial).__name__}`; pass its `density()`."
        )
    kets, scores = aligned.gathered(initial.kets), aligned.gathered(initial.log_likelihood, inner=1)
    draws, groups = initial.num_draws, initial.num_groups
    return [
        PureEnsemble(*each, None, groups, num_draws=draws, validate=False)
        for each in zip(kets.unbind(), scores.unbind(), strict=True)
    ]


def _joined(states: Sequence[State], aligned: Alignment, *, before: int = 0) -> State:
    pure = [_with_kets(state) for state in states if isinstance(state, PureEnsemble | TrajectoryCourse)]
    mixed = [state.density_matrix for state in states if isinstance(state, MixedState)]
    if len(mixed) == len(states):
        return MixedState(_spread(mixed, aligned, before), validate=False)
    if len(pure) < len(states):
        raise ArgumentError(
            "Argument `times` must be the same for all systems where a part of them is averaged exactly "
            f"(`{type(states[0]).__name__}`), and the base of driven dynamics one system, but they run one after the "
            "other here; loop over the systems."
        )
    records = [state.record for state in pure if state.record is not None]
    return PureEnsemble(
        _spread([state.kets for state in pure], aligned, before),
        _spread([state.log_likelihood for state in pure], aligned, before),
        _joined_record(records, aligned) if records else None,
        min(state.num_groups for state in pure),
        num_draws=pure[0].num_draws,
        validate=False,
    )


def _with_kets(state: PureEnsemble | TrajectoryCourse) -> PureEnsemble:
    if isinstance(state, PureEnsemble):
        return state
    # Nodes of courses of different systems lie at different times: only kets at the times can be put together.
    return PureEnsemble(
        state.kets,
        state.log_likelihood,
        num_groups=state.num_groups,
        num_draws=state.history.num_draws,
        validate=False,
    )


def _joined_record(records: Sequence[JumpRecord], aligned: Alignment) -> JumpRecord:
    width = max(record.channels.shape[-1] for record in records)

    def padded(rows: Tensor, value: Any) -> Tensor:
        return pad(rows, (0, width - rows.shape[-1]), value=value)

    return JumpRecord(
        _spread([padded(record.channels, -1) for record in records], aligned),
        _spread([padded(record.times, torch.nan) for record in records], aligned),
    )


def _spread(parts: Sequence[Tensor], aligned: Alignment, before: int = 0) -> Tensor:
    return aligned.spread(torch.stack(list(parts), before), before=before)

"""Streams in pieces of time: what a step needs beside the states is made for one piece after the other."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from qinn.quantum.collisions.kraus import (
    apply_operators,
    blocks_of,
    operators_of_densities,
    operators_of_kets,
)
from qinn.quantum.collisions.limits import check_store
from qinn.quantum.collisions.meetings import Meeting, Schedule
from qinn.quantum.collisions.real_form import hermitian_coordinates, transfer_matrices
from qinn.quantum.collisions.relaxation import relaxation_maps
from qinn.quantum.collisions.scan import scan_maps
from qinn.quantum.generators.lindbladian import Lindbladian, hermitian_from

# Takes the first step, the step behind the last and the memory there; returns the memory behind each step.
Piece = Callable[[int, int, Tensor], Tensor]


def real_piece(schedule: Schedule, lindbladian: Lindbladian | None) -> tuple[Piece, int]:
    """Return how a piece is run in the real form, on coordinates (row, D²), and the numbers that a step takes.

    Args:
        schedule: The events.
        lindbladian: Free relaxation between them, or None.
    """
    size = schedule.memory_dim**2
    intervals = _intervals_of(schedule, lindbladian)
    squares = [each.interaction.ancilla_dim**2 for each in schedule.meetings]
    # The map of a row, with those of its relaxation, and the coordinates of its ancilla with what they are made of.
    numbers = schedule.num_rows * (size * size * (1 if intervals is None else 4) + 3 * max(squares))
    # The T_k, and the complex matrices that they are made of.
    check_store(max(numbers, 6 * sum(squares) * size * size), "the real form")
    tables = [
        transfer_matrices(each.interaction.unitary, schedule.memory_dim).flatten(1)
        for each in schedule.meetings
    ]

    def run(start: int, stop: int, memory: Tensor) -> Tensor:
        shape = (stop - start, len(memory), size, size)
        maps = _maps(schedule, tables, start, stop, memory).reshape(shape)
        if lindbladian is None or intervals is None:
            return scan_maps(maps, memory)
        free = relaxation_maps(lindbladian, intervals[start:stop])
        return scan_maps(torch.stack([free, maps], 1).flatten(0, 1), memory)[1::2]

    return run, numbers


def _maps(schedule: Schedule, tables: list[Tensor], start: int, stop: int, memory: Tensor) -> Tensor:
    """The channel of every row and step, flat; the identity where nothing happens."""
    number = (stop - start) * len(memory)
    if len(tables) == 1 and schedule.meetings[0].is_complete:
        return schedule.meetings[0].coordinates(start * len(memory), stop * len(memory)) @ tables[0]
    maps = torch.eye(memory.shape[1], dtype=memory.dtype, device=memory.device).flatten().repeat(number, 1)
    for meeting, table in zip(schedule.meetings, tables, strict=True):
        first, last = meeting.offsets[start], meeting.offsets[stop]
        if first < last:
            places = (meeting.steps[first:last] - start) * len(memory) + meeting.rows[first:last]
            maps = maps.index_copy(0, places, meeting.coordinates(first, last) @ table)
    return maps


def kraus_piece(schedule: Schedule, lindbladian: Lindbladian | None) -> tuple[Piece, int]:
    """Return how a piece is run by Kraus operators, on densities (row, D, D), and the numbers that a step takes.

    Args:
        schedule: The events.
        lindbladian: Free relaxation between them, or None.
    """
    intervals = _intervals_of(schedule, lindbladian)
    per_event = max(each.interaction.ancilla_dim ** (1 if each.are_pure else 2) for each in schedule.meetings)
    numbers = 2 * schedule.num_rows * schedule.memory_dim**2 * 2 * per_event
    if intervals is not None:
        numbers += 4 * schedule.num_rows * schedule.memory_dim**4
    check_store(numbers, "the Kraus operators of one step")
    blocks = [blocks_of(each.interaction.unitary, schedule.memory_dim) for each in schedule.meetings]

    def run(start: int, stop: int, memory: Tensor) -> Tensor:
        ranges = [(each.offsets[start], each.offsets[stop]) for each in schedule.meetings]
        operators = [
            _operators(meeting, table, first, last)
            for meeting, table, (first, last) in zip(schedule.meetings, blocks, ranges, strict=True)
        ]
        free = None
        if lindbladian is not None and intervals is not None:
            free = relaxation_maps(lindbladian, intervals[start:stop])
        states = []
        for step in range(start, stop):
            if free is not None:
                memory = relaxed(memory, free[step - start])
            for meeting, table, left, (begin, _) in zip(
                schedule.meetings, blocks, operators, ranges, strict=True
            ):
                first, last = meeting.offsets[step], meeting.offsets[step + 1]
                if first == last:
                    continue
                here = left[first - begin : last - begin]
                right = here if meeting.are_pure else table.flatten(0, 1)
                if last - first == len(memory):
                    memory = apply_operators(here, right, memory)
                    continue
                rows = meeting.rows[first:last]
                memory = memory.index_copy(
                    0, rows, apply_operators(here, right, memory.index_select(0, rows))
                )
            states.append(memory)
        return torch.stack(states)

    return run, numbers


def _operators(meeting: Meeting, table: Tensor, first: int, last: int) -> Tensor:
    if meeting.are_pure:
        return operators_of_kets(table, meeting.kets(first, last))
    return operators_of_densities(table, meeting.densities(first, last))


def relaxed(memory: Tensor, maps: Tensor) -> Tensor:
    """Return densities after real maps of their coordinates.

    Args:
        memory: ρ (row, D, D).
        maps: Real maps (row, D², D²).
    """
    coordinates = hermitian_coordinates(memory).flatten(1)
    return hermitian_from((maps @ coordinates[..., None]).reshape(memory.shape))


def _intervals_of(schedule: Schedule, lindbladian: Lindbladian | None) -> Tensor | None:
    """The time before each step; None if nothing relaxes."""
    if lindbladian is None or schedule.intervals is None:
        return None
    return schedule.intervals[:-1]


def run_in_pieces(
    piece: Piece, num_steps: int, steps_at_once: int, memory: Tensor, see: Callable[[int, Tensor], Any]
) -> Tensor:
    """Run a stream piece by piece; where there are several, each is run again in the backward pass.

    Args:
        piece: How one is run.
        num_steps: Number of steps.
        steps_at_once: Steps of a piece.
        memory: The memory before the first step.
        see: Called with the first step of each piece and the memory behind each of its steps.

    Returns:
        The memory behind the last step.
    """
    several = num_steps > steps_at_once and torch.is_grad_enabled()
    for start in range(0, num_steps, steps_at_once):
        stop = min(start + steps_at_once, num_steps)
        if several:
            states = checkpoint(piece, start, stop, memory, use_reentrant=False, preserve_rng_state=False)
        else:
            states = piece(start, stop, memory)
        see(start, states)
        memory = states[-1]
    return memory

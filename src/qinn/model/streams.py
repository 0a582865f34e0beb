"""What a model that follows the stream meets when: each modality's steps at their own times, or all together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float64, Int, Shaped
from torch import Tensor
from torch.nn import functional

from qinn.errors import ArgumentError

__all__ = ["Order", "Stream", "StreamForm", "order_of", "streams_of"]

StreamForm = Literal["factorised", "joint"]

_TOGETHER = 1e-3
"""Seconds: steps that are no further apart happen together."""


@dataclass(frozen=True)
class Stream:
    """Steps that are met by one operator, one after the other.

    Attributes:
        name: The modality, or ``"joint"`` for all of them together.
        factors: What each step holds, one tensor (batch, time, …) per modality of the stream.
        valid: Which steps there are.
        present: Which modality each sample has, where there are several; None for a single one, whose absence is a
            stream without steps.
        given: When each step happens, in seconds from the sample's beginning, where the data say it; padding holds
            finite numbers.
    """

    name: str
    factors: tuple[Shaped[Tensor, "batch time _"], ...]
    valid: Bool[Tensor, "batch time"]
    present: Bool[Tensor, "batch factor"] | None = None
    given: Float64[Tensor, "batch time"] | None = None

    @property
    def times(self) -> Float64[Tensor, "batch time"]:
        """Time of each step: as given, or else (k + 1)/T for the k-th of T; those of padding mean nothing."""
        if self.given is not None:
            return self.given
        steps = torch.arange(1, self.valid.shape[1] + 1, device=self.valid.device).double()
        return steps / self.valid.sum(1).clamp_min(1)[:, None]


def streams_of(
    names: Sequence[str],
    values: Sequence[Tensor],
    valid: Sequence[Tensor],
    *,
    sequences: Mapping[str, bool],
    form: StreamForm,
    times: Sequence[Tensor | None] | None = None,
) -> tuple[Stream, ...]:
    """Arrange the modalities' steps into streams.

    ``"factorised"``: each modality is a stream of its own, plain vectors after the sequences, so that they come last of
    what happens at one time. Where the data say when steps happen, they have to say it of all sequences; a plain vector
    without a time happens at the sample's end, with its last step. ``"joint"``: all modalities step together, and a
    plain vector accompanies every step; times must agree, and are not used otherwise.

    Args:
        names: Modality names, in order.
        values: What each step holds (batch, time, …), of each modality.
        valid: Which steps there are (batch, time), of each modality.
        sequences: Modality name → whether it has sequences.
        form: The arrangement.
        times: When each step happens (batch, time), of each modality; None where the data do not say it, of one or of
            all.

    Raises:
        ArgumentError: If modalities are to step together, but their lengths or times differ, or if some sequences have
            times and others have none.

    Examples:
        >>> words, face = torch.zeros(1, 3, 2), torch.ones(1, 1, 2)
        >>> given = (["face", "words"], [face, words], [torch.ones(1, 1).bool(), torch.ones(1, 3).bool()])
        >>> kinds = {"face": False, "words": True}
        >>> [stream.name for stream in streams_of(*given, sequences=kinds, form="factorised")]
        ['words', 'face']
        >>> [tuple(each.shape) for each in streams_of(*given, sequences=kinds, form="joint")[0].factors]
        [(1, 3, 2), (1, 3, 2)]
    """
    known = [None] * len(names) if times is None else list(times)
    if form == "factorised":
        given = _completed(names, known, valid, [sequences[name] for name in names])
        found = [
            Stream(name, (each,), there, given=moments)
            for name, each, there, moments in zip(names, values, valid, given, strict=True)
        ]
        return tuple(sorted(found, key=lambda stream: not sequences[stream.name]))
    lengths = torch.stack([there.sum(1) for there in valid], 1)
    is_sequence = [sequences[name] for name in names]
    _check_aligned(names, lengths, is_sequence)
    _check_simultaneous(names, known, valid, is_sequence)
    time = max(each.shape[1] for each in values)
    factors = [
        functional.pad(each, (0, 0, 0, time - each.shape[1])) if steps else each[:, :1].expand(-1, time, -1)
        for each, steps in zip(values, is_sequence, strict=True)
    ]
    longest = lengths.amax(1)
    there = torch.arange(time, device=longest.device) < longest[:, None]
    return (Stream("joint", tuple(factors), there, lengths > 0),)


def _check_aligned(names: Sequence[str], lengths: Tensor, is_sequence: Sequence[bool]) -> None:
    """Refuse samples whose sequences have different lengths; a modality that is absent has none."""
    counted = (lengths > 0) & torch.tensor(is_sequence, device=lengths.device)
    longest = lengths.masked_fill(~counted, 0).amax(1, keepdim=True)
    differs = (counted & (lengths != longest)).nonzero()
    if len(differs):
        row, other = differs[0].tolist()
        first = int((counted & (lengths == longest))[row].nonzero()[0])
        raise ArgumentError(
            f"Argument `form` must be `factorised` where modalities have steps of their own, but it is `joint`, and a "
            f"sample has {int(lengths[row, first])} steps of `{names[first]}` and {int(lengths[row, other])} of "
            f"`{names[other]}`; set `form: factorised`, or align the modalities."
        )


def _completed(
    names: Sequence[str], times: Sequence[Tensor | None], valid: Sequence[Tensor], is_sequence: Sequence[bool]
) -> Sequence[Tensor | None]:
    """Give every stream times where one has them: a plain vector without one happens with the sample's last step."""
    if all(each is None for each in times):
        return times
    known = [
        None if each is None else each.masked_fill(~there, 0.0)
        for each, there in zip(times, valid, strict=True)
    ]
    last = torch.stack([each.amax(1) for each in known if each is not None]).amax(0)
    completed = []
    for name, each, there, steps in zip(names, known, valid, is_sequence, strict=True):
        # What no sample has needs no times.
        if each is None and steps and bool(there.any()):
            timed = next(other for other, moments in zip(names, times, strict=True) if moments is not None)
            raise ArgumentError(
                f"Argument `times` must be known of every sequence or of none where each has steps of its own, but it "
                f"is known of `{timed}` and not of `{name}`; import `{name}` with its times, or pool it to a "
                "plain vector."
            )
        completed.append(last[:, None].expand(there.shape) if each is None else each)
    return completed


def _check_simultaneous(
    names: Sequence[str], times: Sequence[Tensor | None], valid: Sequence[Tensor], is_sequence: Sequence[bool]
) -> None:
    """Refuse steps that are to be met together, but happen at different times; their lengths are known to agree."""
    timed = [
        (name, each, there)
        for name, each, there, steps in zip(names, times, valid, is_sequence, strict=True)
        if each is not None and steps
    ]
    for at, (name, each, there) in enumerate(timed):
        for other, moments, also in timed[:at]:
            shared = min(each.shape[1], moments.shape[1])
            apart = (each[:, :shared] - moments[:, :shared]).abs() > _TOGETHER
            if bool((apart & there[:, :shared] & also[:, :shared]).any()):
                raise ArgumentError(
                    "Argument `form` must be `factorised` where steps happen at times of their own, but it is `joint`, "
                    f"and steps of `{other}` and `{name}` with one number are more than {_TOGETHER * 1000:g} ms apart; "
                    "set `form: factorised`, or align the modalities."
                )


@dataclass(frozen=True)
class Order:
    """The steps of all streams in the order of time; of one time, in the order of the streams.

    Attributes:
        places: Which step comes when, counted through the streams laid one behind the other.
        happens: False behind a sample's last step.
    """

    places: Int[Tensor, "batch event"]
    happens: Bool[Tensor, "batch event"]

    def of(self, values: Sequence[Tensor]) -> Tensor:
        """Return what belongs to the streams' steps (batch, time, …), in order of time (batch, event, …)."""
        rows = torch.arange(len(self.places), device=self.places.device)[:, None]
        return torch.cat(list(values), 1)[rows, self.places]


def order_of(streams: Sequence[Stream]) -> Order:
    """Return the order in which the steps of streams happen.

    Args:
        streams: One or several.

    Examples:
        >>> two, one = torch.ones(1, 2, 1), torch.ones(1, 1, 1)
        >>> streams = [Stream("a", (two,), two[..., 0].bool()), Stream("b", (one,), one[..., 0].bool())]
        >>> order_of(streams).places
        tensor([[0, 1, 2]])
    """
    times = torch.cat([stream.times.masked_fill(~stream.valid, torch.inf) for stream in streams], 1)
    counts = torch.stack([stream.valid.sum(1) for stream in streams]).sum(0)
    # One at least, so that a batch without any has the shape of others.
    num_events = max(1, int(counts.amax())) if len(counts) else 1
    happens = torch.arange(num_events, device=counts.device) < counts[:, None]
    return Order(times.argsort(dim=1, stable=True)[:, :num_events], happens)

"""Two cells of the literature that track states, on the encoders, read-out, by-pass and head of `GRUStream`.

A second-order network, in which the input chooses a linear map of the state, and products of generalised Householder
reflections, as in DeltaProduct. Both are small re-implementations for comparison, step by step, not the authors' code:

    model = build_rival("delta_product", EncoderConfig(), feature_dims=…, sequences=…, num_outputs=1, memory_dim=8)
    fit(model, development, task=…, options=…, folder=…, seed=0)
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from qinn.errors import ArgumentError
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.model.baselines import RecurrentStream, count_parameters
from qinn.model.streams import StreamForm
from qinn.quantum.collisions.scan import scan_maps

WIDEST = 256
# Part by which a number of parameters may miss what was asked for.
_FAR = 0.25


class SecondOrderCell(nn.Module):
    """h_t = A_t h_{t−1}/‖A_t h_{t−1}‖ with A_t = 𝟙 + Σ_k x_tk W_k: linear in the state, and in the input.

    Nothing is added to the state, so that its size means nothing and may be kept at 1. The 𝟙, with which a small W
    keeps what the state holds, is ours.

    Args:
        input_dim: Width of the input.
        memory_dim: Width of the state.

    Source: M. R. Ebrahimi, R. Memisevic, arXiv 2505.21749.
    """

    def __init__(self, input_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.input_size = input_dim
        # A_t − 𝟙 has a spectral norm of some 0.5 for an input of unit entries.
        spread = 0.25 / (input_dim * memory_dim) ** 0.5
        self.weight = nn.Parameter(torch.randn(memory_dim, memory_dim, input_dim) * spread)
        self.start = nn.Parameter(torch.randn(memory_dim))

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Return the states (batch, time, memory) behind every step."""
        identity = torch.eye(len(self.weight), dtype=inputs.dtype, device=inputs.device)
        maps = identity + torch.einsum("bti,hki->tbhk", inputs, self.weight)
        start = functional.normalize(self.start, dim=0).expand(len(inputs), -1)
        with torch.no_grad():
            norms, state = [], start
            for step in maps:
                moved = (step @ state[..., None])[..., 0]
                norms.append(torch.linalg.vector_norm(moved, dim=-1, keepdim=True).clamp_min(1e-20))
                state = moved / norms[-1]
        # As constants, the norms change no state and no gradient: they keep products of many maps in bounds.
        states = scan_maps(maps / torch.stack(norms)[..., None], start)
        return functional.normalize(states, dim=-1).transpose(0, 1), None


class DeltaProductCell(nn.Module):
    """S ← (𝟙 − β_j k_j k_jᵀ) S + β_j k_j v_jᵀ, several times at every step, ‖k_j‖ = 1 and 0 < β_j < 2.

    With β up to 2 the factors reflect, and the product of two of them rotates.

    Args:
        input_dim: Width of the input.
        memory_dim: Number of entries of S, which the head sees; an even number.

    Source: J. Siems et al., arXiv 2502.10297; β up to 2: R. Grazzi et al., arXiv 2411.12537. A head that sees all of
        S in place of one projection of it, and a learned start, are ours.
    """

    _FACTORS, _COLUMNS = 2, 2

    def __init__(self, input_dim: int, memory_dim: int) -> None:
        super().__init__()
        if memory_dim % self._COLUMNS:
            raise ArgumentError(f"Argument `memory_dim` must be even, but it is {memory_dim}.")
        self.input_size = input_dim
        self.key_dim = memory_dim // self._COLUMNS
        self.keys = nn.Linear(input_dim, self._FACTORS * self.key_dim)
        self.values = nn.Linear(input_dim, self._FACTORS * self._COLUMNS)
        self.strengths = nn.Linear(input_dim, self._FACTORS)
        self.start = nn.Parameter(torch.randn(self.key_dim, self._COLUMNS))

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Return the states (batch, time, memory) behind every step."""
        keys = functional.normalize(self.keys(inputs).unflatten(-1, (self._FACTORS, -1)), dim=-1)
        values = self.values(inputs).unflatten(-1, (self._FACTORS, -1))
        strengths = 2 * self.strengths(inputs).sigmoid()[..., None, None]
        reflections = torch.eye(self.key_dim, dtype=inputs.dtype, device=inputs.device) - strengths * (
            keys[..., :, None] * keys[..., None, :]
        )
        writes = strengths * keys[..., :, None] * values[..., None, :]
        maps, added = reflections[:, :, 0], writes[:, :, 0]
        for factor in range(1, self._FACTORS):
            maps = reflections[:, :, factor] @ maps
            added = reflections[:, :, factor] @ added + writes[:, :, factor]
        state, states = self.start.expand(len(inputs), -1, -1), []
        for step in range(inputs.shape[1]):
            state = torch.baddbmm(added[:, step], maps[:, step], state)
            states.append(state)
        return torch.stack(states, 1).flatten(2), None


RIVAL_CELLS: dict[str, type[SecondOrderCell] | type[DeltaProductCell]] = {
    "second_order": SecondOrderCell,
    "delta_product": DeltaProductCell,
}


def build_rival(
    kind: str,
    encoder: EncoderConfig,
    *,
    feature_dims: Mapping[str, int],
    sequences: Mapping[str, bool],
    num_outputs: int,
    memory_dim: int | None = None,
    parameters: int | None = None,
    form: StreamForm = "factorised",
    by_pass: bool = True,
    seed: int = 0,
) -> RecurrentStream:
    """Build the model of `gru_stream` with another cell; its encoders start from the same weights.

    Args:
        kind: One of `RIVAL_CELLS`.
        encoder: As for `qinn.experiment.build.build_model`.
        feature_dims: As for `build_model`.
        sequences: As for `build_model`.
        num_outputs: As for `build_model`.
        memory_dim: Width of the state.
        parameters: In place of that: how many parameters the model is to have; the nearest width is taken.
        form: As for `RecurrentStream`.
        by_pass: As for `RecurrentStream`.
        seed: Seed of the initial weights.

    Raises:
        ArgumentError: If the kind is unknown, not exactly one of width and parameters is given, or no width comes
            within 25 % of the parameters.
    """
    if kind not in RIVAL_CELLS:
        raise ArgumentError(f"Argument `kind` must be one of {list(RIVAL_CELLS)}, but it is `{kind}`.")
    if (memory_dim is None) == (parameters is None):
        raise ArgumentError("Exactly one of `memory_dim` and `parameters` must be given.")

    def build(width: int) -> RecurrentStream:
        content = {"kind": "gru_stream", "memory_dim": width, "form": form, "by_pass": by_pass}
        model = build_model(
            MODEL_CONFIGS["gru_stream"].model_validate(content),
            encoder,
            feature_dims=feature_dims,
            sequences=sequences,
            num_outputs=num_outputs,
            seed=seed,
        )
        assert isinstance(model, RecurrentStream)
        model.recurrent = RIVAL_CELLS[kind](model.recurrent.input_size, width)
        return model

    if memory_dim is not None:
        return build(memory_dim)
    assert parameters is not None
    low, high = 1, WIDEST // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count_parameters(build(2 * middle)) <= parameters else (low, middle)
    model = min((build(2 * low), build(2 * high)), key=lambda each: abs(count_parameters(each) - parameters))
    if abs(count_parameters(model) - parameters) > _FAR * parameters:
        raise ArgumentError(
            f"Argument `parameters` is {parameters}, but the nearest that `{kind}` can have beside these encoders is "
            f"{count_parameters(model)}; choose another number, or give `memory_dim`."
        )
    return model

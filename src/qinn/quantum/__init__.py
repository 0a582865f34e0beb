"""Exact, batched, differentiable open quantum systems on torch tensors (ħ = 1, entropies in bits)."""

from qinn.quantum.checking.checks import check_channel, check_density, check_ket, choi_matrix
from qinn.quantum.evolution import (
    Evolution,
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    Hybrid,
    NoEvolution,
    QuantumJumps,
    SteppedJumps,
    Unitary,
    expected_jumps,
)
from qinn.quantum.generators.driven import DrivenLindbladian
from qinn.quantum.generators.learnable_structured import LearnableStructuredLindbladian
from qinn.quantum.generators.lindbladian import (
    LearnableLindbladian,
    Lindbladian,
    hermitian_from,
    jump_operators_from,
)
from qinn.quantum.generators.propagation import propagate_densities, propagate_observables
from qinn.quantum.generators.structured import StructuredLindbladian, StructuredOperator
from qinn.quantum.measures.entanglement import (
    concurrence,
    cuts,
    entanglement_entropies,
    entanglement_entropy,
    ket_concurrence,
    log_negativity,
    maximum_entropies,
    negativity,
    partial_transpose,
)
from qinn.quantum.measures.entropies import (
    entropy_of_spectrum,
    mutual_information,
    renyi_entropy,
    tripartite_information,
    von_neumann_entropy,
)
from qinn.quantum.numerics.factors import permute_ket, permute_operator
from qinn.quantum.numerics.operators import embed, pauli
from qinn.quantum.numerics.work import Work
from qinn.quantum.states.densities import (
    density_of,
    fidelity,
    ket_fidelity,
    maximally_mixed,
    partial_trace,
    product_density,
    purity,
    reduced_density_of_ket,
    square_root,
    trace_distance,
)
from qinn.quantum.states.ensembles import HeisenbergState, JumpRecord, MixedState, PureEnsemble, State
from qinn.quantum.states.estimators import score_surrogate
from qinn.quantum.states.kets import (
    amplitude_phase,
    basis_ket,
    bell_state,
    ghz_state,
    normalize,
    product,
    random_kets,
    squared_magnitude,
    squared_norm,
)
from qinn.quantum.states.measurement import (
    expectations,
    expectations_of_density,
    measurement_vectors_from,
    probabilities,
    probabilities_of_density,
)
from qinn.quantum.states.mixtures import LearnableMixture, Mixture, uniform_mixture
from qinn.quantum.states.products import ProductState
from qinn.quantum.steady.steady_state import Attractor, contraction, find_attractor

__all__ = [
    "Attractor",
    "DrivenLindbladian",
    "Evolution",
    "ExactChannel",
    "GumbelJumps",
    "Heisenberg",
    "HeisenbergState",
    "Hybrid",
    "JumpRecord",
    "LearnableLindbladian",
    "LearnableMixture",
    "LearnableStructuredLindbladian",
    "Lindbladian",
    "MixedState",
    "Mixture",
    "NoEvolution",
    "ProductState",
    "PureEnsemble",
    "QuantumJumps",
    "State",
    "SteppedJumps",
    "StructuredLindbladian",
    "StructuredOperator",
    "Unitary",
    "Work",
    "amplitude_phase",
    "basis_ket",
    "bell_state",
    "check_channel",
    "check_density",
    "check_ket",
    "choi_matrix",
    "concurrence",
    "contraction",
    "cuts",
    "density_of",
    "embed",
    "entanglement_entropies",
    "entanglement_entropy",
    "entropy_of_spectrum",
    "expectations",
    "expectations_of_density",
    "expected_jumps",
    "fidelity",
    "find_attractor",
    "ghz_state",
    "hermitian_from",
    "jump_operators_from",
    "ket_concurrence",
    "ket_fidelity",
    "log_negativity",
    "maximally_mixed",
    "maximum_entropies",
    "measurement_vectors_from",
    "mutual_information",
    "negativity",
    "normalize",
    "partial_trace",
    "partial_transpose",
    "pauli",
    "permute_ket",
    "permute_operator",
    "probabilities",
    "probabilities_of_density",
    "product",
    "product_density",
    "propagate_densities",
    "propagate_observables",
    "purity",
    "random_kets",
    "reduced_density_of_ket",
    "renyi_entropy",
    "score_surrogate",
    "square_root",
    "squared_magnitude",
    "squared_norm",
    "trace_distance",
    "tripartite_information",
    "uniform_mixture",
    "von_neumann_entropy",
]

"""Laws that every model and every evolution keeps, for anyone who adds one (see `docs/extending.md`)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from fnmatch import fnmatch

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from qinn.model.encoded_baseline import EncodedBaseline
from qinn.quantum import (
    Evolution,
    HeisenbergState,
    LearnableLindbladian,
    Lindbladian,
    PureEnsemble,
    State,
    embed,
    hermitian_from,
    partial_trace,
    product,
    product_density,
    purity,
    random_kets,
    score_surrogate,
)
from qinn.records import Batch, Features, Prediction

__all__ = ["check_evolution", "check_model", "example_batch"]


def example_batch(
    feature_dims: Mapping[str, int],
    *,
    num_samples: int = 4,
    num_steps: int = 3,
    sequences: Mapping[str, bool] | None = None,
    timed: bool = False,
    seed: int = 0,
) -> Batch:
    """Return random samples of varying length in which every modality is present.

    Args:
        feature_dims: Modality name → number of features.
        num_samples: Samples of the batch.
        num_steps: Steps of the longest sequence; sample i has 1 + i mod `num_steps` of them.
        sequences: Modality name → whether it has sequences; False gives one step (default: all sequences).
        timed: Whether the steps of sequences happen at random times.
        seed: Seed.

    Examples:
        >>> example_batch({"text": 2}).features["text"].lengths
        tensor([1, 2, 3, 1])
    """
    generator = torch.Generator().manual_seed(seed)
    features = {}
    for name, dim in feature_dims.items():
        longest = num_steps if sequences is None or sequences[name] else 1
        lengths = 1 + torch.arange(num_samples) % longest
        values = torch.randn(num_samples, longest, dim, generator=generator)
        valid = torch.arange(longest) < lengths[:, None]
        times = None
        if timed and (sequences is None or sequences[name]):
            gaps = torch.rand(num_samples, longest, generator=generator, dtype=torch.float64)
            times = gaps.cumsum(1) * valid
        features[name] = Features(values * valid[..., None], lengths, times)
    return Batch(tuple(f"sample-{index}" for index in range(num_samples)), features)


def check_model(
    build: Callable[[], nn.Module],
    batch: Batch,
    *,
    num_outputs: int,
    idle: Collection[str] = (),
    tolerance: float = 1e-5,
) -> None:
    """Check the laws that the rest of qinn relies on in every model.

    In evaluation mode: outputs of shape (batch, output), finite and the same in every call; a batch gives what
    its samples give one by one, in any order and with any padding; a modality that one sample lacks changes no
    other sample; saved weights, loaded into another model, give the same outputs. In training mode: outputs and
    gradients are finite whichever modality is absent, and every parameter gets a gradient, of a loss of the output
    or of what the model adds to it (in the third epoch, when this has had time to learn).

    Args:
        build: Makes the model with freshly drawn weights.
        batch: A few samples in which every modality is present, for example from `example_batch`.
        num_outputs: Width of the output that the task needs.
        idle: Patterns (as of `fnmatch`) of parameter names that need no gradient, because the configuration
            at hand makes them irrelevant (generators at time 0, say).
        tolerance: Largest difference between outputs that must be equal up to round-off.

    Raises:
        AssertionError: Naming the first law that the model breaks.

    Examples:
        >>> from qinn.model.baselines import Constant
        >>> check_model(lambda: Constant(1), example_batch({"text": 2}), num_outputs=1)
    """
    model = build().eval()
    with torch.no_grad():
        output = _check_prediction(model(batch), len(batch), num_outputs)
        _check_equal(model(batch).output, output, 0.0, "every call in evaluation mode gives the same outputs")
        _check_samples_are_independent(model, batch, output, tolerance)
        _check_padding_is_ignored(model, batch, output, tolerance)
        for name in batch.features:
            _check_absence_stays_local(model, batch, name, output, tolerance)
        _check_weights_are_everything(build, model, batch, output)
    missing = _check_gradients(build, batch, "with every modality") - _matching(build, idle)
    _require(not missing, f"every parameter gets a gradient, but these do not: {sorted(missing)}")
    for name in batch.features:
        _check_gradients(build, batch.without(name), f"without `{name}`")


def check_evolution(
    evolution: Evolution, *, time: float = 0.7, steps: int = 8, tolerance: float = 1e-4
) -> None:
    """Check the laws of every evolution, on random systems of dimensions 1, 2 × 3 and with K = 0.

    The state after it is physical: unit norm of every trajectory, Hermitian density of trace 1 without
    negative eigenvalues, probabilities of a complete measurement that are at least 0 and add up to 1, and a
    log-likelihood of value 0. Time 0 changes nothing. Operators that act on one factor each keep product states
    products. Permuting the batch permutes the result (deterministic and seeded evolutions), or torch's global
    seed fixes it. Gradients are finite, at basis kets too.

    Args:
        evolution: The evolution.
        time: Duration T.
        steps: Number of steps.
        tolerance: Largest deviation (the laws are checked in single precision).

    Raises:
        AssertionError: Naming the first law that the evolution breaks.

    Examples:
        >>> from qinn.quantum import Unitary
        >>> check_evolution(Unitary())
    """
    for dim, num_jumps in ((6, 2), (6, 0), (1, 1)):
        kets = random_kets(3, 1, dim, generator=torch.Generator().manual_seed(dim))
        generators = LearnableLindbladian(dim, num_jumps, hamiltonian_scale=1.0, jump_scale=1.0, seed=1)
        lindbladian = generators()
        state = evolution.evolve(PureEnsemble(kets), lindbladian, time=time, steps=steps)
        where = f"in dimension {dim} with {num_jumps} jump operators"
        _check_physical(state, (3, dim), tolerance, where)
        still = evolution.evolve(PureEnsemble(kets), lindbladian, time=0.0, steps=steps)
        before = PureEnsemble(kets).density()
        _check_equal(still.density(), before, tolerance, f"time 0 changes no state {where}")
        _check_evolution_gradients(evolution, generators, dim, time, steps, where)
    _check_products_stay_products(evolution, time, steps, tolerance)
    _check_order_or_seed(evolution, time, steps, tolerance)


def _require(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(f"Broken law: {law}.")


def _check_equal(found: Tensor, expected: Tensor, tolerance: float, law: str) -> None:
    difference = float((found - expected).detach().abs().max()) if found.numel() else 0.0
    _require(
        found.shape == expected.shape and difference <= tolerance, f"{law} (difference {difference:.1e})"
    )


def _check_prediction(prediction: Prediction, num_samples: int, num_outputs: int) -> Tensor:
    output = prediction.output
    _require(
        tuple(output.shape) == (num_samples, num_outputs),
        f"outputs have the shape {(num_samples, num_outputs)}, not {tuple(output.shape)}",
    )
    _require(bool(output.isfinite().all()), "outputs are finite")
    if prediction.probabilities is not None:
        values = prediction.probabilities
        _require(bool(((values > -1e-5) & (values < 1 + 1e-5)).all()), "probabilities lie between 0 and 1")
    if prediction.log_likelihood is not None:
        _require(bool((prediction.log_likelihood == 0).all()), "log-likelihoods have the value 0")
    return output


def _rows(batch: Batch, rows: list[int]) -> Batch:
    features = {name: value.rows(rows) for name, value in batch.features.items()}
    return Batch(tuple(batch.ids[row] for row in rows), features)


def _absent(batch: Batch, name: str, row: int) -> Batch:
    given = batch.features[name]
    values, lengths = given.values.clone(), given.lengths.clone()
    values[row], lengths[row] = 0, 0
    return replace(batch, features={**batch.features, name: replace(given, values=values, lengths=lengths)})


def _check_samples_are_independent(model: nn.Module, batch: Batch, output: Tensor, tolerance: float) -> None:
    size = len(batch)
    alone = torch.cat([model(_rows(batch, [row])).output for row in range(size)])
    _check_equal(alone, output, tolerance, "a batch gives what its samples give one by one")
    order = list(reversed(range(size)))
    reordered = model(_rows(batch, order)).output
    _check_equal(reordered, output[order], tolerance, "the order of the samples changes no output")


def _check_padding_is_ignored(model: nn.Module, batch: Batch, output: Tensor, tolerance: float) -> None:
    longer = {
        name: Features(
            nn.functional.pad(value.values, (0, 0, 0, 2)),
            value.lengths,
            None if value.times is None else nn.functional.pad(value.times, (0, 2)),
        )
        for name, value in batch.features.items()
    }
    padded = model(replace(batch, features=longer)).output
    _check_equal(padded, output, tolerance, "padding changes no output")


def _check_absence_stays_local(
    model: nn.Module, batch: Batch, name: str, output: Tensor, tolerance: float
) -> None:
    partial = _absent(batch, name, 0)
    found = _check_prediction(model(partial), len(batch), output.shape[1])
    law = f"a sample without `{name}` changes no other sample's output"
    _check_equal(found[1:], output[1:], tolerance, law)
    alone = model(_rows(partial, [0])).output
    law = f"a sample without `{name}` gives the same alone and in a batch"
    _check_equal(alone, found[:1], tolerance, law)


def _check_weights_are_everything(
    build: Callable[[], nn.Module], model: nn.Module, batch: Batch, output: Tensor
) -> None:
    other = build().eval()
    for value in other.state_dict().values():
        if value.is_floating_point():
            value.add_(1.0)
    saved = save({name: value.contiguous().clone() for name, value in model.state_dict().items()})
    other.load_state_dict(load(saved))
    _check_equal(other(batch).output, output, 0.0, "saved and loaded weights give the same outputs")


def _matching(build: Callable[[], nn.Module], patterns: Collection[str]) -> set[str]:
    names = [name for name, _ in build().named_parameters()]
    return {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}


def _check_gradients(build: Callable[[], nn.Module], batch: Batch, where: str) -> set[str]:
    """Check that gradients are finite; return the names of the parameters that got none."""
    torch.manual_seed(0)
    model = build().train()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad and p.numel()}
    prediction: Prediction = model(batch)
    _require(bool(prediction.output.isfinite().all()), f"outputs in training mode are finite {where}")
    if not parameters:
        return set()
    if isinstance(model, EncodedBaseline):
        _add_gradients_beside(model, batch, where)
    if prediction.trajectory_output is not None and prediction.log_likelihood is not None:
        values = (prediction.trajectory_output - 0.5).square().sum(-1)
        score_surrogate(values, prediction.log_likelihood).mean().backward()
    else:
        (prediction.output - 0.5).square().sum(-1).mean().backward()
    for name, parameter in parameters.items():
        finite = parameter.grad is None or bool(parameter.grad.isfinite().all())
        _require(finite, f"gradients are finite {where}, but that of `{name}` is not")
    return {name for name, p in parameters.items() if p.grad is None or not bool(p.grad.any())}


def _add_gradients_beside(model: EncodedBaseline, batch: Batch, where: str) -> None:
    """Add the gradients of what the model adds to the loss of a task, after it was told of some epochs."""
    columns = len(model.output_scale.offset)
    scores = torch.linspace(-1.0, 1.0, len(batch)) if columns == 1 else torch.arange(len(batch)) % columns
    beside = model.auxiliary_loss(batch.ids, scores)
    if beside is None:
        return
    labelled = replace(batch, labels=scores)
    for _ in range(2):
        beside.of(model(labelled), labelled)
        beside.end_epoch()
    loss = beside.of(model(labelled), labelled)
    _require(bool(loss.isfinite()), f"what is added to the loss is finite {where}")
    if loss.requires_grad:  # there may be nothing left to look at
        loss.backward()


def _check_physical(state: State, shape: tuple[int, int], tolerance: float, where: str) -> None:
    num_samples, dim = shape
    if isinstance(state, PureEnsemble):
        norms = state.kets.abs().square().sum(-1)
        _check_equal(norms, torch.ones_like(norms), tolerance, f"every trajectory has unit norm {where}")
    density = state.density()
    _require(tuple(density.shape) == (num_samples, dim, dim), f"densities have one matrix per sample {where}")
    _check_equal(density, density.mH, tolerance, f"densities are Hermitian {where}")
    trace = density.diagonal(dim1=-2, dim2=-1).sum(-1).real
    _check_equal(trace, torch.ones_like(trace), tolerance, f"densities have trace 1 {where}")
    lowest = float(torch.linalg.eigvalsh(density.detach()).min())
    _require(lowest > -tolerance, f"densities have no negative eigenvalue {where} (lowest {lowest:.1e})")
    free = torch.randn(2, dim, dim, generator=torch.Generator().manual_seed(7))
    basis = torch.linalg.qr(torch.complex(free[0], free[1]))[0].mH.contiguous()
    values = state.probabilities(basis)
    _require(float(values.detach().min()) > -tolerance, f"probabilities are at least 0 {where}")
    law = f"probabilities of a complete measurement add up to 1 {where}"
    _check_equal(values.sum(-1), torch.ones(values.shape[:-1]), tolerance, law)
    expected = torch.einsum("ji,bik,jk->bj", basis.conj(), density, basis).real
    law = f"mean probabilities are those of the density {where}"
    _check_equal(values.mean(-2), expected, tolerance, law)
    _require(bool((state.log_likelihood == 0).all()), f"log-likelihoods have the value 0 {where}")


def _check_evolution_gradients(
    evolution: Evolution, generators: LearnableLindbladian, dim: int, time: float, steps: int, where: str
) -> None:
    generators.zero_grad()
    kets = torch.eye(dim, dtype=torch.complex64)[:1, None].requires_grad_()
    state = evolution.evolve(PureEnsemble(kets), generators(), time=time, steps=steps)
    values = state.probabilities(random_kets(2, dim, generator=torch.Generator().manual_seed(3)))
    score_surrogate(values, state.log_likelihood).square().mean().backward()
    for tensor in (kets, *generators.parameters()):
        finite = tensor.grad is None or bool(tensor.grad.isfinite().all())
        _require(finite, f"gradients are finite at a basis ket {where}")


def _check_products_stay_products(evolution: Evolution, time: float, steps: int, tolerance: float) -> None:
    dims = (2, 3)
    generator = torch.Generator().manual_seed(5)
    kets = [random_kets(4, dim, generator=generator) for dim in dims]
    local = [
        (
            embed(hermitian_from(torch.randn(dim, dim, generator=generator)), dims, [position]),
            embed(torch.complex(*torch.randn(2, dim, dim, generator=generator)), dims, [position]),
        )
        for position, dim in enumerate(dims)
    ]
    lindbladian = Lindbladian(
        local[0][0] + local[1][0], 0.7 * torch.stack([jump_operator for _, jump_operator in local])
    )
    state = evolution.evolve(PureEnsemble(product(kets)[:, None]), lindbladian, time=time, steps=steps)
    law = "operators on one factor each keep product states products"
    if isinstance(state, PureEnsemble):
        densities = state.kets[..., :, None] * state.kets[..., None, :].conj()
        values = purity(partial_trace(densities, dims, [0]), validate=False)
        _check_equal(values, torch.ones_like(values), tolerance, law)
    else:
        if isinstance(state, HeisenbergState) and isinstance(state.initial, PureEnsemble):
            # Each trajectory for itself: their average may be correlated.
            state = replace(state, initial=PureEnsemble(state.initial.kets.flatten(0, 1)[:, None]))
        density = state.density()
        marginals = [partial_trace(density, dims, [position]) for position in range(len(dims))]
        _check_equal(density, product_density(marginals), tolerance, law)


def _check_order_or_seed(evolution: Evolution, time: float, steps: int, tolerance: float) -> None:
    initial = random_kets(4, 1, 4, generator=torch.Generator().manual_seed(9))
    lindbladian = LearnableLindbladian(4, 2, hamiltonian_scale=1.0, jump_scale=2.0, seed=2)()

    def densities(kets: Tensor) -> Tensor:
        return evolution.evolve(PureEnsemble(kets), lindbladian, time=time, steps=steps).density()

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = densities(initial)
        if torch.equal(densities(initial), first):
            order = [2, 0, 3, 1]
            law = "permuting the batch permutes the result"
            _check_equal(densities(initial[order]), first[order], tolerance, law)
        torch.manual_seed(0)
        _check_equal(densities(initial), first, 0.0, "torch's global seed fixes the result")

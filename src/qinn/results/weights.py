"""Weights of runs."""

# pyarrow, safetensors and yaml state few types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from qinn.digests import file_digest
from qinn.errors import CheckpointError
from qinn.opening import check_regular
from qinn.results.files import foreign, unreadable, write_atomically


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write weights as safetensors, atomically."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    write_atomically(path, lambda target: save_file(tensors, target, metadata=dict(metadata)))


def read_weights(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    """Read weights.

    Raises:
        CheckpointError: If the file is missing, damaged or not the one with the digest, or holds a number that is
            not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_regular(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"Weights `{path}` are missing; the run folder is damaged, repeat the run."
        ) from None
    except OSError as error:
        raise unreadable(path, error) from error
    if digest is not None and (found := file_digest(path)) != digest:
        raise foreign(path, found, digest)
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"Weights `{path}` cannot be read ({error}); the file is damaged, repeat the run."
        ) from error
    for name, tensor in weights.items():
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"Weights `{path}` hold numbers that are not finite, in `{name}`; the file is damaged, repeat the run."
            )
    return weights

"""Where a model is trained."""

from typing import Literal

import torch

from qinn.errors import ArgumentError


def training_device(device: Literal["cpu", "gpu", "auto"]) -> torch.device:
    """Return where to train: on a GPU where one is asked for or, with ``auto``, there.

    Raises:
        ArgumentError: If one is asked for and torch finds none.

    Examples:
        >>> training_device("cpu")
        device(type='cpu')
    """
    if device != "cpu":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
    if device == "gpu":
        raise ArgumentError(
            "Argument `device` is `gpu`, but torch finds no GPU on this machine; choose `cpu` or `auto`."
        )
    return torch.device("cpu")

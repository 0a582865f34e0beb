"""Keys of a configuration that change nothing where they stand, in sentences."""

from collections.abc import Sequence
from typing import Any

from qinn.experiment.model_configs import QiNNConfig
from qinn.training.options import FitOptions

__all__ = ["FITTED_AS_THEY_ARE", "idle_absence", "idle_keys"]

FITTED_AS_THEY_ARE = ("linear", "constant")
"""Kinds of models that are solved, not trained: nothing is taken away from their training samples."""


def idle_keys(model_config: Any, options: FitOptions, modalities: Sequence[str]) -> list[str]:
    """Say which keys change nothing, of those that somebody set.

    Args:
        model_config: The configuration of the model.
        options: How it is trained.
        modalities: Those of the data.

    Examples:
        >>> from qinn.experiment.model_configs import parse_model
        >>> options = FitOptions(absent_rate=0.3, absent_protocol="keep-one", absent_all=True)
        >>> idle_keys(parse_model("a", {"kind": "concatenation"}), options, ["text", "audio"])
        ['Key `training.absent_all` changes nothing under `absent_protocol: keep-one`.']
    """
    found = idle_absence(model_config.kind, options, modalities)
    if isinstance(model_config, QiNNConfig) and model_config.idle_keys:
        condition = "" if model_config.relaxation else " without `relaxation`"
        found += [
            f"Key `{key}` changes nothing under `dynamics: collisions`{condition}."
            for key in model_config.idle_keys
        ]
    return found


def idle_absence(kind: str, options: FitOptions, modalities: Sequence[str]) -> list[str]:
    """Say which keys of absence in training change nothing.

    Args:
        kind: Of the model.
        options: How it is trained.
        modalities: Those of the data.

    Examples:
        >>> idle_absence("constant", FitOptions(), ["text"])
        []
    """
    if not any(options.absent_rates(modalities).values()) and not options.selection_rates:
        return []
    if kind in FITTED_AS_THEY_ARE:
        return [
            f"Nothing is taken away from the training samples, whatever `training.absent_rate` says: a model of kind "
            f"`{kind}` is fitted to them as they are."
        ]
    found: list[str] = []
    protocol = options.absent_protocol
    if protocol == "keep-one" and len(modalities) == 1:
        found.append(
            f"Nothing is taken away under `absent_protocol: keep-one`: `{modalities[0]}` is all that there is, and "
            "stays."
        )
    if options.absent_all and protocol != "whole":
        found.append(f"Key `training.absent_all` changes nothing under `absent_protocol: {protocol}`.")
    if options.selection_rates and options.monitor == "last":
        found.append(
            "Key `training.selection_rates` chooses nothing under `monitor: last`, which keeps the last epoch."
        )
    if options.absent_pattern != "bursts" and options.absent_burst != FitOptions.absent_burst:
        found.append(
            f"Key `training.absent_burst` changes nothing under `absent_pattern: {options.absent_pattern}`."
        )
    return found

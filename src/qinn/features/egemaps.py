"""How a voice sounds as openSMILE measures it: the 25 low-level descriptors of eGeMAPS, one row every 10 ms.

openSMILE is audEERING's, and free for research alone (its licence forbids products), so nothing takes it by default.

Source: Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS)", 2016; the set eGeMAPSv02 of openSMILE.
"""

from importlib import metadata

import numpy as np

from qinn.errors import ConfigError
from qinn.extras import needs
from qinn.features.acoustic import Frames
from qinn.features.clip import RATE, Sound

__all__ = ["EGEMAPS_COLUMNS", "Egemaps", "egemaps_version"]

EGEMAPS_COLUMNS = (
    *("Loudness", "alphaRatio", "hammarbergIndex", "slope0-500", "slope500-1500", "spectralFlux"),
    *(f"mfcc{order}" for order in range(1, 5)),
    *(
        "F0semitoneFrom27.5Hz",
        "jitterLocal",
        "shimmerLocaldB",
        "HNRdBACF",
        "logRelF0-H1-H2",
        "logRelF0-H1-A3",
    ),
    *(f"F{number}{what}" for number in (1, 2, 3) for what in ("frequency", "bandwidth", "amplitudeLogRelF0")),
)
"""Columns, as openSMILE calls them, without how they are smoothed."""

_PITCH = EGEMAPS_COLUMNS.index("F0semitoneFrom27.5Hz")
_OF_VOICED = tuple(range(_PITCH, len(EGEMAPS_COLUMNS)))
"""Columns that openSMILE leaves at zero, or at −201, where a frame is not voiced."""
_SHORTEST = RATE // 10


def egemaps_version() -> str:
    """Return name and version of what computes here, such as ``egemaps@2.6.0``; ``egemaps`` where nothing does."""
    try:
        return f"egemaps@{metadata.version('opensmile')}"
    except metadata.PackageNotFoundError:
        return "egemaps"


class Egemaps:
    """Computes eGeMAPS of sounds; loaded once.

    Raises:
        MissingPackageError: If opensmile is not installed.
        ConfigError: If its set has other columns than those that are known.
    """

    def __init__(self) -> None:
        with needs("egemaps", "Features of sound by `egemaps`"):
            # Its licence keeps it out of `qinn[all]`, so that nobody who checks types need have it.
            import opensmile  # pyright: ignore[reportMissingImports]
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02,
            feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
        )
        found = tuple(name.partition("_")[0] for name in self._smile.feature_names)
        if found != EGEMAPS_COLUMNS:
            raise ConfigError(
                f"`egemaps` is not used, since the opensmile that is installed ({egemaps_version()}) computes other "
                "columns than eGeMAPSv02 has: install opensmile 2.6."
            )

    def frames(self, sound: Sound, sounding: Frames) -> Frames:
        """Return one row every 10 ms; rows that lie in a gap of the sound are left out.

        Args:
            sound: The sound.
            sounding: Its own frames, which say where something sounds.
        """
        if len(sound.samples) < _SHORTEST:  # openSMILE fills up what is shorter
            return Frames(np.zeros(0), np.zeros((0, len(EGEMAPS_COLUMNS)), np.float32), np.zeros(0, bool))
        table = self._smile.process_signal(sound.samples, RATE)
        values = np.ascontiguousarray(table.to_numpy(np.float32))
        seconds = sound.begin + 0.01 * (np.arange(len(values)) + 1)
        kept = np.isfinite(values).all(axis=1)
        for begin, end in sound.gaps:
            kept &= (seconds < begin) | (seconds >= end)
        place = np.searchsorted(sounding.seconds, seconds).clip(max=max(len(sounding.seconds) - 1, 0))
        active = sounding.active[place] if len(sounding.seconds) else np.zeros(len(seconds), bool)
        counts = np.ones(values.shape, bool)
        counts[:, _OF_VOICED] = values[:, [_PITCH]] > 0
        return Frames(seconds[kept], values[kept], active[kept], counts[kept])

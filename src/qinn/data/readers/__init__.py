"""Readers of other people's files, each of which ends in a store."""

from qinn.data.readers.account import describe_import
from qinn.data.readers.csd import CsdOptions
from qinn.data.readers.feature_specs import FeatureSpec
from qinn.data.readers.labels import TaskOptions, parse_pairs
from qinn.data.readers.layouts import LAYOUTS, Options, detect_layout, import_data
from qinn.data.readers.mfn import MfnOptions
from qinn.data.readers.misa import MisaOptions
from qinn.data.readers.mmsa import MmsaOptions
from qinn.data.readers.mult import MultOptions
from qinn.data.readers.safe_pickle import load_pickle
from qinn.data.readers.table import TableOptions
from qinn.data.readers.transcripts import TextOptions

__all__ = [
    "LAYOUTS",
    "CsdOptions",
    "FeatureSpec",
    "MfnOptions",
    "MisaOptions",
    "MmsaOptions",
    "MultOptions",
    "Options",
    "TableOptions",
    "TaskOptions",
    "TextOptions",
    "describe_import",
    "detect_layout",
    "import_data",
    "load_pickle",
    "parse_pairs",
]

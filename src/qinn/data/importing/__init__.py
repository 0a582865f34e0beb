"""Readers of other people's files, each of which ends in a store."""

from qinn.data.files.pickles.reading import load_pickle
from qinn.data.importing.account import describe_import
from qinn.data.importing.csd import CsdOptions
from qinn.data.importing.driver import import_data
from qinn.data.importing.feature_specs import FeatureSpec
from qinn.data.importing.labels import TaskOptions
from qinn.data.importing.layouts import LAYOUTS, detect_layout
from qinn.data.importing.mfn import MfnOptions
from qinn.data.importing.misa import MisaOptions
from qinn.data.importing.mmsa import MmsaOptions
from qinn.data.importing.mult import MultOptions
from qinn.data.importing.reader import ImportOptions
from qinn.data.importing.table import TableOptions
from qinn.data.importing.transcripts import TextOptions
from qinn.stated_options import parse_pairs

__all__ = [
    "LAYOUTS",
    "CsdOptions",
    "FeatureSpec",
    "ImportOptions",
    "MfnOptions",
    "MisaOptions",
    "MmsaOptions",
    "MultOptions",
    "TableOptions",
    "TaskOptions",
    "TextOptions",
    "describe_import",
    "detect_layout",
    "import_data",
    "load_pickle",
    "parse_pairs",
]

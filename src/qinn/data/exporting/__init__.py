"""From a store to the files that other programs read."""

from qinn.data.exporting.conversion import convert
from qinn.data.exporting.options import FORMATS, ConversionOptions, ConversionReport

__all__ = ["FORMATS", "ConversionOptions", "ConversionReport", "convert"]

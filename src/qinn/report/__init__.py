"""Run folders to figures, tables and one self-contained page."""

from qinn.extras import require

require("report", what="A report or a figure")

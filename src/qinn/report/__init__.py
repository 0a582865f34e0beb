"""Run folders to figures, tables and one self-contained page."""

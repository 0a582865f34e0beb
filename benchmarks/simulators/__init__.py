"""The parts of `benchmarks/quantum.py`: one problem, four packages, one clock, one page."""

"""Measurements: each prints a table and one JSON line. `python -m benchmarks.serving --help`."""

"""Measurements: one file a table, run as ``python -m benchmarks.NAME``; results are data, in ``results/``."""

"""Experiments and benchmarks: one module for each table or figure. `plain.py` is what everything is held against."""

"""Classifiers as other people make and save them, for `benchmarks.imports`."""

"""Weights that others have trained: where they come from, how their files are read, and how networks take them."""

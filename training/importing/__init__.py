"""Somebody's model, made into a bundle: `python -m training import`."""

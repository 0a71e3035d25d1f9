"""Somebody's model, made into a bundle: `striate import`."""

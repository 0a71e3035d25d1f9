"""Augmented batches, as a function of seed, epoch and image."""

"""Classifying the images of a folder into one file: `python -m service score`."""

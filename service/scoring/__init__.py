"""Classifying the images of a folder into one file: `striate score`."""

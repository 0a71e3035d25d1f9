"""The exports folder: versions of models, which of them is live, and how each came to be."""

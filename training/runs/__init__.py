"""A training run from data to bundle, its directory, and the record of how it was made."""

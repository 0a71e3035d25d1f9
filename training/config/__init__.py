"""The settings of a training run: fields, flags and recipes."""

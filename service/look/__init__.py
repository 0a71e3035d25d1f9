"""`striate serve --model PATH`: somebody's SavedModel as it is, for a look: tensors in, tensors out, no labels."""

"""From a trained network to a bundle: the SavedModel, the check of its predictions, 8 bits."""

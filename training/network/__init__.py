"""The network as it is trained: built, initialised or taken over, with its loss and its optimizer."""

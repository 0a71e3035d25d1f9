"""What a network has seen in an image, found in the graph of its bundle: where it looked, and how usual that was."""

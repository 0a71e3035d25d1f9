"""Where a network looked: an image's regions that speak for a class."""

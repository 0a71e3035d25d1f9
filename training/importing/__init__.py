"""Somebody else's model: what kind of file it is, what in it is refused, and the confined process that loads it."""

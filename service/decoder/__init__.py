"""Processes that decode images and parse large bodies: confined, bounded, and ended when one takes too long."""

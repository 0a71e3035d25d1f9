"""Processes that decode images: confined, bounded, and ended when one takes too long."""

"""Somebody's model: found, copied, looked through, and loaded."""

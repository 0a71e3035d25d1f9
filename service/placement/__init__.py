"""Which versions have engines, on which devices, within which memory."""

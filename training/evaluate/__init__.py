"""Predictions and what they say: metrics, calibration, significance, wrong labels."""

"""Labelled images and images that wait for a label, as they are collected and stored."""

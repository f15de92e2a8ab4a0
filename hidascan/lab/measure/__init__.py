"""Measure the accuracy and speed of a scanner."""

"""Image encoders used by detectors."""

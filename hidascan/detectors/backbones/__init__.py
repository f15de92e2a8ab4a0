"""Image encoders that detectors stand on."""

"""Training: modules shared by all detectors, and end-to-end training."""

"""What every training shares, and the training of detectors that need nothing special."""

"""Images for training and measuring."""

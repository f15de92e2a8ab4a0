"""`hidalab`: train and measure detectors. No other package imports this one; `hidascan lab` loads it by name."""

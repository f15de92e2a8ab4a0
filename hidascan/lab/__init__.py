"""`hidalab`: train and measure detectors. No other package imports this one."""

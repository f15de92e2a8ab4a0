"""`hidalab`: train and measure detectors. No other module imports this package, except `hidascan lab`, by name, when it is called."""

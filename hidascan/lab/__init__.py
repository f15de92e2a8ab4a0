"""`hidalab`: train detectors and measure them. Nothing outside this package imports it."""

"""Places to run a scan."""

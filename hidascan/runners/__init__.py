"""Run scans: one loop over findings, and the runners that produce them."""

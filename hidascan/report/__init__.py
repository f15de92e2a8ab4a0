"""Write findings as reports, without a network."""

"""Write findings as reports. Nothing in here uses a network."""

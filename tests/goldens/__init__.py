"""Golden outputs: exact results of the shipped weights and a tiny network on fixed images."""

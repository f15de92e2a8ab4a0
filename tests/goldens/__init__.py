"""Golden outputs: what the shipped weights and a tiny network say of fixed images, to the last digits."""

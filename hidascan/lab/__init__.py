"""`hidalab`: training and measuring. Nothing outside this package imports it."""

"""The command line of `hidalab`: thin commands over the rooms of the lab."""

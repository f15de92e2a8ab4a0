"""Command line of `hidalab`: thin commands over the lab's packages."""

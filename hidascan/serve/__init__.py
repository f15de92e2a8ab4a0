"""`hidascan serve`: a page and an HTTP interface on this machine. Only `commands` imports it, when it is asked for."""

"""`hidascan serve`: a web page and an HTTP API. Imported only on demand, by `commands`."""

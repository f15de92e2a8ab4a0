"""Claims of origin in a file: its metadata, and signed C2PA manifests."""

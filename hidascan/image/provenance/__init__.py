"""What a file says of its own origin: claims in its metadata, and signed C2PA manifests."""

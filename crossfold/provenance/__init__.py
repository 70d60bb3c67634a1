"""What a file is, and what was published: digests and manifests."""

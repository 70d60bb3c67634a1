"""Publishing: datasets and results under DVC and git, and out of them for others."""

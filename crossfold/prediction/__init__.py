"""Sliding window, ensemble and post-processing."""

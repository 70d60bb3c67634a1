"""Metrics and their summaries."""

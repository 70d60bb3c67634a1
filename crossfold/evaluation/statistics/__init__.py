"""Comparisons of runs, and how sure we are of them."""

"""What measures Crossfold; docs/benchmarks.md holds what it printed."""

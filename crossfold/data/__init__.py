"""From raw files to what training reads: import, checks, phantom, splits, preprocessing."""

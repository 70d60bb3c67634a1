"""Results that a reader should look at. None of them is removed from the statistics."""

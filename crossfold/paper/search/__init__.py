"""The page about a search of hyperparameters."""

"""The search of hyperparameters: what is tried, what came of it, and what is best."""

"""The ensemble of a model as a MONAI bundle: written, and proven to stand on its own."""

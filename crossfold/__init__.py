"""Crossfold: cross-validated 3-D segmentation, from a folder of contoured images to a paper."""

__version__ = "0.1.0"

"""Random changes to crops, as batched tensor code on the training device.

Drawing and applying are apart: `pipeline.Augmenter.draw` makes the numbers from a seeded generator,
calling it applies them, so that a batch can be replayed.
"""

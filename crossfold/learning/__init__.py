"""Networks, losses, sampling, augmentation, training and checkpoints."""

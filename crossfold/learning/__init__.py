"""Networks, losses, sampling, augmentation, training and checkpoints."""

# Raised by hand when training would give other weights for the same configuration: a fingerprint of
# the modules would train every model again after the edit of a comment.
STAGE_VERSION = 1

"""A page on this machine in which a reader scrolls through images, contours and predictions."""

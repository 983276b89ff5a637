"""Training of one member on images with targets."""

"""The model side: images in, predictions out. It has never heard of FiftyOne."""

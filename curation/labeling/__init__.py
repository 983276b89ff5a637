"""Where labels come from: an oracle, files, a labeling tool."""

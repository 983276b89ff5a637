"""The pipeline: prediction as a whole, single stages, and whole rounds."""

"""The data side: moves what the cascade says into the dataset and back."""

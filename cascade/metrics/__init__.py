"""Classification metrics, average precision and bootstrap intervals."""

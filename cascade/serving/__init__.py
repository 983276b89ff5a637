"""Start-up and defaults of language model servers."""

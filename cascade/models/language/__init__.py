"""Vision-language models behind an OpenAI-compatible server."""

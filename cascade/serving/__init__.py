"""Models behind a server: how one is started, asked, and understood."""

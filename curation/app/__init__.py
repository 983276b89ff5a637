"""FiftyOne App: server, plugins, operators and panels."""

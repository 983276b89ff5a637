"""Report of a round: composition (pure) and rendering as HTML and in the terminal."""

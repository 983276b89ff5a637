"""The page of a round: what it says (pure), and how that looks as HTML and in a terminal."""

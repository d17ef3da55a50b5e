"""datagate: row and column filtering at the moment of action."""

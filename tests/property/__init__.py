"""Laws that hold for whatever statement and whatever data."""

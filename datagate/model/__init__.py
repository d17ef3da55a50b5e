"""Nouns that every room shares: frozen dataclasses, no behaviour that needs I/O, SQL or a clock."""

"""Tempo: traces of the world's requests, and the search for them."""

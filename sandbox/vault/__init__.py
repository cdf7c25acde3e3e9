"""Vault: the KV engine, version 2, and who is let in."""

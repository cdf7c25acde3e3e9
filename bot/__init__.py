"""TAMV's incident bot."""

"""The command line's commands other than `serve` and `demo`."""

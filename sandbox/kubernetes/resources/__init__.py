"""The kinds that the API serves, a file for each group of theirs."""

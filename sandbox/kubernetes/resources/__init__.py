"""The kinds that the API serves, with their controllers: one file for each family."""

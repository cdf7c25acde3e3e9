"""The controllers: each brings what is there nearer to what is wanted, one object at a time."""

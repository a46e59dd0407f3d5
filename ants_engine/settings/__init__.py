"""The settings: their schema, how they are read, and what a change does to a saved detector."""

"""Answers on disk: the response store, what mends it, and files made of it."""

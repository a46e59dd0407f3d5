"""Candidates for the initial negative labels: the lexicon that ships with the package, and reading another."""

"""Answers on disk. The journal is the truth, its index can be rebuilt, a cassette is a sorted copy of the journal.

`entry` has one request with its ending as a line; `journal` appends and finds lines; `index` keeps their places;
`store` shares a journal between coroutines and processes; `cassette` exports and imports; `upkeep` counts, selects,
verifies and repairs; `older` reads stores of version 0.1.
"""

"""The ``ants`` command. Thin: each command parses, calls the library, prints.

Exit codes: 0 done; 1 it went wrong (the MLLM, the store, a model); 2 the call, its input or its settings need
correcting; 3 done, but some pictures or folders could not be read (they are listed); 130 interrupted.
"""

from ants_engine.cli.main import main

__all__ = ["main"]

"""MLLM backends, one module per kind; found through the entry point group ``ants_engine.backends``."""

"""Prompt templates, data only: ``<task>/v<N>.toml``."""

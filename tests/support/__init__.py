"""Helpers that several tests share: tiny real models, real servers, pictures."""

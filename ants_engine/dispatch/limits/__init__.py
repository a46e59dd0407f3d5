"""How much a backend may be asked: at once, in a second, in all."""

"""A page that shows what a detector did: which pictures were unknown, which text caught them, where the line lies."""

"""A page that shows what a detector did: which pictures were foreign, which text caught them, where the line lies."""

"""Pictures and texts in, L2-normalised CLIP features out: finding, decoding, batching, encoding."""

"""Measuring a detector as the field does: metrics and image lists."""

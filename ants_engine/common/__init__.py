"""Helpers of every room: whole-file writes, bounded reads, text for terminals, progress, checks of features."""

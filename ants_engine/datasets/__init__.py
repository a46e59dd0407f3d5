"""Labelled pictures and features to compare methods on: lists, folders, OpenOOD benchmarks and feature files."""

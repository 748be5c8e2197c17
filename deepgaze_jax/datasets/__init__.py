"""Readers of data sets in their original files, and the feature cache."""

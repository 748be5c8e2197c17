"""Readers of eye-tracking files, one module for each format."""

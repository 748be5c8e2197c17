"""The builder of `figrim`."""

"""The builder of `osie`."""

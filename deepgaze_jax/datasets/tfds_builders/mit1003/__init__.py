"""The builder of `mit1003`."""

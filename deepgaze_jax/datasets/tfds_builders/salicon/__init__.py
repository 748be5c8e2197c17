"""The builder of `salicon`."""

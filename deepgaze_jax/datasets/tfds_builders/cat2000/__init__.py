"""The builder of `cat2000`."""

"""Foreign weight formats in, our parameter names out."""

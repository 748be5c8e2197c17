"""Where do people look in an image? DeepGaze II in JAX and Flax."""

__version__ = "0.1.0"

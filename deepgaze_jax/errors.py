"""Exceptions of the package.

Every message says what was found, what was expected and what to do. The command
line prints it as one line and exits non-zero; nothing else is done with it.
"""

__all__ = [
    "ConfigError",
    "DataError",
    "DeepGazeError",
    "InputError",
    "NotAPictureError",
    "TooLargeError",
    "TrainingError",
    "WeightsError",
]


class DeepGazeError(Exception):
    """Anything this package refuses to do, with the reason in one line."""


class InputError(DeepGazeError):
    """A picture, array or argument is not what the function takes."""


class NotAPictureError(InputError):
    """Bytes that are no picture of a known format, whole or damaged."""


class TooLargeError(InputError):
    """A picture with more pixels than are allowed, or than fit into memory."""


class DataError(DeepGazeError):
    """A data set or its fixations are broken or contradict each other."""


class WeightsError(DeepGazeError):
    """Weights are missing, damaged or of another kind than needed."""


class ConfigError(DeepGazeError):
    """An option is senseless, names what there is not, or contradicts another one.

    Or the run that it should continue. For the command line that is wrong usage.
    """


class TrainingError(DeepGazeError):
    """Training went wrong and stopped, with the reason."""

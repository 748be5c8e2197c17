"""What the command line says on standard error, and how it shows progress."""

import sys
from types import TracebackType

from tqdm import tqdm

from deepgaze_jax.errors import DeepGazeError

__all__ = ["Bar", "UsageError", "complain", "say"]


class UsageError(DeepGazeError):
    """The command itself makes no sense; exit code 2."""


def say(text: str) -> None:
    """Print a message to standard error, above a progress bar if there is one."""
    tqdm.write(text, file=sys.stderr)


def complain(error: Exception | str) -> None:
    """Print what went wrong as one line on standard error."""
    say(f"deepgaze: {' '.join(str(error).split()) or type(error).__name__}")


class Bar:
    """A progress bar on standard error that appears at the first report.

    Args:
        unit: of what is counted; "B" for bytes.
        title: stands in front, where the reports have none of their own.
    """

    def __init__(self, unit: str, title: str = ""):
        self._unit = unit
        self._title = title
        self._bar: tqdm | None = None

    def __call__(self, done: int, total: int, title: str = "") -> None:
        """Show how far it is; a new title starts a new bar."""
        title = title or self._title
        if self._bar is not None and self._bar.desc.removesuffix(": ") != title:
            self.close()
        if self._bar is None:
            self._bar = tqdm(
                desc=title,
                total=total or None,
                unit=self._unit,
                unit_scale=self._unit == "B",
                file=sys.stderr,
                dynamic_ncols=True,
            )
        self._bar.update(done - self._bar.n)

    def note(self, text: str) -> None:
        """Show a text behind the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

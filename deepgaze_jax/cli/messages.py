"""What the command line says on standard error, and how it shows progress."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

from deepgaze_jax.errors import DeepGazeError

__all__ = ["Bar", "UsageError", "complain", "say", "tell"]


_SECONDS_BETWEEN_LINES = 60.0


class UsageError(DeepGazeError):
    """The command itself makes no sense; exit code 2."""


def say(text: str) -> None:
    """Print a message to standard error, above a progress bar if there is one."""
    tqdm.write(text, file=sys.stderr)


def tell(text: str) -> None:
    """Print a result to standard output, above a progress bar if there is one.

    Names of files that are no text are shown with escapes.
    """
    tqdm.write(text.encode(errors="backslashreplace").decode(), file=sys.stdout)
    sys.stdout.flush()


def complain(error: Exception | str) -> None:
    """Print what went wrong as one line on standard error."""
    say(f"deepgaze: {' '.join(str(error).split()) or type(error).__name__}")


class Bar:
    """A progress bar on standard error that appears at the first report.

    Where that is no terminal but a file or a pipe, it says a line every minute instead,
    and the last note of each title.

    Args:
        unit: of what is counted; "B" for bytes.
        title: stands in front, where the reports have none of their own.
    """

    def __init__(self, unit: str, title: str = ""):
        self._unit = unit
        self._title = title
        self._bar: tqdm | None = None
        self._lines = None if sys.stderr.isatty() else _Lines(unit)

    def __call__(self, done: int, total: int, title: str = "") -> None:
        """Show how far it is; a new title starts a new bar."""
        title = title or self._title
        if self._lines is not None:
            self._lines(done, total, title)
            return
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
        if self._lines is not None:
            self._lines.note = text
        elif self._bar is not None:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._lines is not None:
            self._lines.close()
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


class _Lines:
    """Progress where lines cannot be overwritten."""

    def __init__(self, unit: str):
        self.note = ""
        self._unit = unit
        self._title = ""
        self._said = self._began = time.monotonic()

    def __call__(self, done: int, total: int, title: str) -> None:
        if title != self._title:
            self.close()
            self._title = title
            self._began = time.monotonic()
        waited = time.monotonic() - self._said
        if done != total and waited >= _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            scale, unit = (1e6, "MB") if self._unit == "B" else (1, f"{self._unit}s")
            of_total = f" of {total / scale:.0f}" if total else ""
            count = f"{done / scale:.0f}{of_total} {unit}"
            took = self._said - self._began
            if done and took:
                count += f", {done / scale / took:.3g} a second"
                if total:
                    count += f", {_in_words((total - done) * took / done)} left"
            say(": ".join(filter(None, (title, count))))

    def close(self) -> None:
        """Say what was noted."""
        if self.note:
            say(": ".join(filter(None, (self._title, self.note))))
        self.note = ""


def _in_words(seconds: float) -> str:
    """Return a time as one reads it.

    Example:
        >>> _in_words(100), _in_words(4000), _in_words(300_000)
        ('2 min', '1 h 7 min', '3 d 11 h')
    """
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"

"""Progress: a bar on a terminal, a line now and then elsewhere."""

import io
import sys

import pytest

from deepgaze_jax.cli import messages
from deepgaze_jax.cli.messages import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream):
    """What standard error gets of a short piece of work."""
    monkeypatch.setattr(sys, "stderr", stream)
    with Bar("image", "checking") as bar:
        for done in range(3):
            bar(done, 2)
        bar(1, 1, "writing")
        bar.note("all well")
    return stream.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch):
    text = shown(monkeypatch, Terminal())
    assert "\r" in text
    for part in ("checking", "2/2", "writing", "all well"):
        assert part in text


def test_a_file_gets_no_bar(monkeypatch):
    assert shown(monkeypatch, io.StringIO()) == "writing: all well\n"


@pytest.mark.parametrize(
    ("unit", "lines"),
    [
        ("image", ["checking: 0 of 2000000 images", "checking: 1000000 of 2000000 im"]),
        ("B", ["checking: 0 of 2 MB", "checking: 1 of 2 MB"]),
    ],
)
def test_a_file_gets_a_line_a_minute(monkeypatch, unit, lines):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(messages, "_SECONDS_BETWEEN_LINES", 0)
    with Bar(unit, "checking") as bar:
        for done in (0, 1_000_000, 2_000_000):
            bar(done, 2_000_000)
    found = sys.stderr.getvalue().splitlines()
    assert len(found) == 2
    assert all(a.startswith(b) for a, b in zip(found, lines, strict=True))


def test_a_line_says_how_fast_it_goes_and_how_long_it_takes(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    now = [0.0]
    monkeypatch.setattr(messages.time, "monotonic", lambda: now[0])
    with Bar("picture", "predicting") as bar:
        for second in range(0, 200, 10):
            now[0] = second
            bar(second // 4, 3000)
    assert sys.stderr.getvalue().splitlines() == [
        "predicting: 15 of 3000 pictures, 0.25 a second, 3 h 19 min left",
        "predicting: 30 of 3000 pictures, 0.25 a second, 3 h 18 min left",
        "predicting: 45 of 3000 pictures, 0.25 a second, 3 h 17 min left",
    ]

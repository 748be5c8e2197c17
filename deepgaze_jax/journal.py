"""What is ready of long work, line by line, so that it can be interrupted."""

import json
from pathlib import Path
from typing import Any

from deepgaze_jax.files import write_text

__all__ = ["Journal"]


class Journal:
    """Entries for images, kept in a file that only grows.

    Each entry is one line of JSON; a last line that was cut off is passed over.

    Args:
        path: of the file; nothing is kept where it is None.

    Example:
        >>> journal = Journal(None)
        >>> journal.add("a.jpg", {"ll": 0.5})
        >>> journal.add("a.jpg", {"auc": 0.75})
        >>> journal["a.jpg"]
        {'ll': 0.5, 'auc': 0.75}
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._entries: dict[str, dict[str, Any]] = {}
        if path is None or not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        for line in whole.splitlines():
            entry = json.loads(line)
            self._entries.setdefault(entry.pop("image"), {}).update(entry)
        if whole != text:
            write_text(path, whole)

    def __getitem__(self, image: str) -> dict[str, Any]:
        """Returns what is known of an image; nothing is an empty dictionary."""
        return self._entries.get(image, {})

    def add(self, image: str, entry: dict[str, Any]) -> None:
        """Keeps more about an image."""
        self._entries.setdefault(image, {}).update(entry)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", newline="") as file:
                file.write(json.dumps({"image": image, **entry}) + "\n")

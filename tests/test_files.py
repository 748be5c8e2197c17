import os
import signal
import subprocess
import sys

import pytest

from deepgaze_jax.files import replacing, write_text


def test_text_is_written_as_it_is(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "é\r\nσ\n")
    assert path.read_bytes() == "é\r\nσ\n".encode()
    write_text(path, "shorter\n")
    assert path.read_bytes() == b"shorter\n"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_nothing_written_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_temporary_lies_in_the_same_folder_with_the_same_ending(tmp_path):
    with replacing(tmp_path / "a.safetensors") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".safetensors"
        assert temporary.name != "a.safetensors"
        assert not temporary.exists()
        temporary.touch()


def test_old_file_stays_whole_until_the_new_one_is(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys\n"
        "from deepgaze_jax.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, path], timeout=120)
    assert result.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    # What it left over is in nobody's way.
    write_text(path, "new")
    assert path.read_text() == "new"

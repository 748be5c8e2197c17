"""Predictions end to end: time and memory, against PyTorch on the same machine.

    python experiments/benchmarks/predict_speed.py -o predict_speed.json

Every size is measured in turns, ours and PyTorch's, each in a process of its own, so
that what else happens on the machine meets both; medians, after a first call. A
prediction goes from an array to an array: resizing, VGG-19, the readouts of all folds,
their mixture, back to the picture's size. PyTorch (2.13, channels last, inference mode,
as many threads, the same values) runs the readout on the grid of the features, and once
more on features that are enlarged first, as the public code does. The densities have to
agree to 1e-4.

Memory is the peak of a process of its own: ours is the command `deepgaze predict` with
all that it writes, PyTorch's a script that predicts one picture and writes nothing.
Cold starts are that command from nothing but compiled programs. The floor is what the
multiplications of the convolutions alone would take at the speed of a large matrix
product here: all of them, and a quarter as Winograd's have.

Some minutes; needs torch (`pip install 'deepgaze-jax[bench]'`) and VGG-19.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

#: What the default model's wider readout adds: `readout_speed.py`.
MODEL = "deepgaze2-osie-paper"
SIZES = ((256, 256), (384, 512), (768, 1024), (1500, 2000), (3000, 4000))
MEGAPIXELS = (0.2, 0.5, 1, 2, 4, 8, 12)
BATCH = 8
RIVALS = ("ours", "torch", "torch_enlarged_first")
TOLERANCE = 1e-4


def main() -> None:
    """Measure all, or one thing as a process of its own; prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("turns", "memory", "cold", "area", "floor"))
    parser.add_argument("--sizes", nargs="+", default=[f"{h}x{w}" for h, w in SIZES])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torch-memory", metavar="FILE")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if arguments.torch_memory:
        print(json.dumps(torch_memory(Path(arguments.torch_memory))))
        return
    sizes = [tuple(map(int, size.split("x"))) for size in arguments.sizes]
    parts: dict[str, Callable[[], Any]] = {
        "turns": lambda: in_turns(sizes, arguments.repeats),
        "memory": lambda: memory(sizes),
        "cold": lambda: cold_start(arguments.repeats),
        "area": lambda: by_area(arguments.repeats),
        "floor": floor,
    }
    wanted = [arguments.only] if arguments.only else list(parts)
    result = {}
    if arguments.output and arguments.output.exists():
        # What was measured before stays, but for what is measured anew.
        result = json.loads(arguments.output.read_text())
    result["machine"] = machine()
    for name in wanted:
        found = parts[name]()
        if name == "turns":
            # Other sizes stay.
            others = [row for row in result.get(name, []) if size_of(row) not in sizes]
            found = sorted(
                others + found, key=lambda row: (*size_of(row), row["batch"])
            )
        result[name] = found
        print(json.dumps({name: result[name]}, indent=2), flush=True)
        if arguments.output:
            arguments.output.write_text(json.dumps(result, indent=2) + "\n")


def size_of(row: dict[str, Any]) -> tuple[int, int]:
    """Return height and width of a result."""
    return row["height"], row["width"]


def machine() -> dict[str, Any]:
    """Return what was measured on."""
    import jax

    kind = platform.processor() or platform.machine()
    flags = set()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            kind = value.strip() if name.strip() == "model name" else kind
            flags |= set(value.split()) if name.strip() == "flags" else set()
    return {
        "cpu": kind,
        "vectors": "AVX-512" if "avx512f" in flags else "AVX2 or less",
        "cores": os.cpu_count(),
        "jax": jax.__version__,
    }


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a picture with structure at all scales, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for scale in (4, 16, 64, 256):
        coarse = rng.integers(0, 256, (height // scale + 2, width // scale + 2, 3))
        layer = Image.fromarray(coarse.astype(np.uint8))
        total += np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC))
    return np.rint(total / 4).astype(np.uint8)


class Rival:
    """A way to predict, in a process of its own.

    Threads of one library go on running for a while after each call, and would slow
    down the next one.

    Args:
        name: one of `RIVALS`.
    """

    def __init__(self, name: str):
        """Start the process."""
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=answer, args=(name, there), daemon=True)
        self._process.start()

    def ask(self, height: int, width: int, n_images: int) -> None:
        """Name the pictures of the next calls; returns nothing."""
        self._here.send((height, width, n_images))
        self._here.recv()

    def predict(self) -> tuple[float, np.ndarray]:
        """Return the seconds of a call and its log densities [B, H, W]."""
        self._here.send("predict")
        return self._here.recv()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def answer(name: str, connection: Any) -> None:
    """Predict what is asked for, in the process of a `Rival`."""
    from deepgaze_jax import load_pretrained
    from deepgaze_jax.weights import load_features

    ours = load_pretrained(MODEL)
    call: Callable[[np.ndarray], np.ndarray] = ours.predict
    if name != "ours":
        import torch
        from _torch_deepgaze2 import TorchDeepGaze2

        torch.set_num_threads(os.cpu_count() or 1)
        enlarge = name == "torch_enlarged_first"
        call = TorchDeepGaze2(ours, load_features("vgg19"), enlarge_first=enlarge)
    images = np.zeros((1, 1, 1, 3), np.uint8)
    while True:
        task = connection.recv()
        if task != "predict":
            height, width, n_images = task
            images = np.stack(
                [picture(height, width, seed) for seed in range(n_images)]
            )
            connection.send(None)
            continue
        start = time.perf_counter()
        densities = call(images)
        connection.send((time.perf_counter() - start, densities))


def in_turns(sizes: list[tuple[int, int]], repeats: int) -> list[dict[str, Any]]:
    """Return seconds, ratios and differences of each size and batch."""
    from deepgaze_jax.memory import available_memory

    lines = []
    for height, width in sizes:
        for n_images in (1, BATCH):
            # Batches of large pictures say nothing new and take hours.
            if n_images > 1 and height * width > 1e6:
                continue
            enlarged = n_images * height * width * (35 / 24 / 4) ** 2 * 2560 * 4
            left_out = {
                name
                for name in RIVALS
                if name == "torch_enlarged_first"
                and 3 * enlarged > (available_memory() or 0)
            }
            here = {name: Rival(name) for name in RIVALS if name not in left_out}
            for rival in here.values():
                rival.ask(height, width, n_images)
            results = {name: rival.predict()[1] for name, rival in here.items()}
            differences = {
                name: float(np.abs(result - results["ours"]).max())
                for name, result in results.items()
            }
            if max(differences.values()) > TOLERANCE:
                raise SystemExit(f"the densities differ: {differences}")
            times: dict[str, list[float]] = {name: [] for name in here}
            for _ in range(repeats if height * width < 5e6 else 2):
                for name, rival in here.items():
                    times[name].append(rival.predict()[0])
            for rival in here.values():
                rival.close()
            medians = {
                name: statistics.median(values) for name, values in times.items()
            }
            lines.append(
                {
                    "height": height,
                    "width": width,
                    "batch": n_images,
                    "seconds": {k: round(v, 3) for k, v in medians.items()},
                    "times_as_fast": {
                        name: round(value / medians["ours"], 2)
                        for name, value in medians.items()
                        if name != "ours"
                    },
                    "difference": {
                        k: float(f"{v:.1e}") for k, v in differences.items() if v
                    },
                    "left_out_for_memory": sorted(left_out),
                }
            )
            print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    return lines


def memory(sizes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return the peak memory of processes that predict one picture."""
    lines = []
    for height, width in sizes:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "picture.png"
            Image.fromarray(picture(height, width)).save(file, compress_level=1)
            command = [sys.executable, __file__, "--torch-memory", str(file)]
            found = {
                "ours": run(predict_command(file, folder))[1],
                "torch": run(command)[1],
            }
        lines.append({"height": height, "width": width, "peak_mb": found})
        print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    return lines


def torch_memory(file: Path) -> dict[str, Any]:
    """Predict a picture with PyTorch alone; returns what was done."""
    from _torch_deepgaze2 import TorchDeepGaze2

    from deepgaze_jax import load_pretrained
    from deepgaze_jax.images import load_image
    from deepgaze_jax.weights import load_features

    recipe = TorchDeepGaze2(load_pretrained(MODEL), load_features("vgg19"))
    return {"mass": float(np.exp(recipe(load_image(file)[None])).sum())}


def cold_start(repeats: int) -> dict[str, Any]:
    """Return the seconds of the whole command, with programs compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        Image.fromarray(picture(768, 1024)).save(file)
        times = [run(predict_command(file, folder))[0] for _ in range(repeats + 1)]
    return {
        "height": 768,
        "width": 1024,
        "first_seconds": round(times[0], 2),
        "seconds": round(statistics.median(times[1:]), 2),
    }


def by_area(repeats: int) -> list[dict[str, Any]]:
    """Return the seconds of pictures of rising area, 3:4."""
    from deepgaze_jax import load_pretrained

    predictor, lines = load_pretrained(MODEL), []
    for area in MEGAPIXELS:
        height = round((area * 1e6 * 3 / 4) ** 0.5)
        width = round(height * 4 / 3)
        image = picture(height, width)
        predictor.predict(image)
        times = []
        for _ in range(repeats if area < 4 else 2):
            start = time.perf_counter()
            predictor.predict(image)
            times.append(time.perf_counter() - start)
        seconds = statistics.median(times)
        lines.append(
            {
                "megapixels": area,
                "seconds": round(seconds, 3),
                "seconds_per_megapixel": round(seconds / area, 3),
            }
        )
    return lines


def floor() -> dict[str, Any]:
    """Return what the multiplications of 768x1024 pixels would take at best."""
    from deepgaze_jax import vgg
    from deepgaze_jax.ops import pooled_size, scaled_size

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4096, 4096), np.float32)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    rate = 2 * 4096**3 / min(times[1:])
    size = [pooled_size(n, 2) for n in scaled_size(768, 1024, 35 / 24)]
    n_multiply_adds, channels = 0, 3
    for name, outputs in vgg.CONVOLUTIONS.items():
        rows, columns = vgg.tap_grid(name, *size)
        n_multiply_adds += 9 * rows * columns * channels * outputs
        channels = outputs
    return {
        "multiply_adds": n_multiply_adds,
        "matrix_product_gflops": round(rate / 1e9),
        "seconds": round(2 * n_multiply_adds / rate, 3),
        "seconds_of_a_quarter": round(n_multiply_adds / 2 / rate, 3),
    }


def predict_command(file: Path, folder: str) -> list[str]:
    """Return the command that predicts a picture."""
    call = "import sys; from deepgaze_jax.cli import main; sys.exit(main())"
    words = ["predict", str(file), "--model", MODEL, "-o", folder]
    return [sys.executable, "-c", call, *words]


def run(command: list[str]) -> tuple[float, int]:
    """Return seconds and peak memory in MB of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    # Kilobytes, but bytes on macOS.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return seconds, round(usage.ru_maxrss / unit)


if __name__ == "__main__":
    main()

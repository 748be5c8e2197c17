"""A folder of photographs by one command, against a plain loop over `predict`.

    python experiments/benchmarks/folder_speed.py --data osie --n 700
    python experiments/benchmarks/folder_speed.py --data osie --model icf --repeats 3

Each way is a process of its own that writes the same two files a photograph, whose
bytes are compared afterwards. The loop is what one writes by hand: it loads a picture
and the model once, calls `Predictor.predict`, draws the overlay of the same picture and
saves both. Compiled programs are kept from one process to the next, as the command
line does, so that both ways find theirs after a first short run that is not counted.
The ways take turns, and the ratio is that of the medians of the whole processes, from
start to end. 700 photographs by DeepGaze II take about half an hour on two cores.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deepgaze_jax.datasets.opening import read_dataset
from deepgaze_jax.files import write_text

LOOP = """
import sys
from pathlib import Path

import numpy as np

from deepgaze_jax.cli.compilation import keep_compiled_programs
from deepgaze_jax.images import load_image
from deepgaze_jax.plotting import overlay, write_png
from deepgaze_jax.prediction import load_pretrained

keep_compiled_programs()
output, model = Path(sys.argv[1]), load_pretrained(sys.argv[2])
output.mkdir()
for path in map(Path, Path(sys.argv[3]).read_text().splitlines()):
    picture = load_image(path)
    log_density = model.predict(picture)
    np.save(output / f"{path.stem}_log_density.npy", log_density)
    drawing = overlay(picture, log_density)
    write_png(output / f"{path.stem}_overlay.png", drawing)
"""


def seconds_of(way: str, output: Path, model: str, names: Path) -> float:
    """Return how long a process takes."""
    if way == "loop":
        command = [sys.executable, "-c", LOOP, str(output), model, str(names)]
    else:
        command = [sys.executable, "-m", "deepgaze_jax", "predict", str(names)]
        command += ["-o", str(output), "--model", model]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def results(output: Path) -> dict[str, Path]:
    """Return the results below a folder, by name."""
    return {p.name: p for p in output.rglob("*") if p.suffix in (".npy", ".png")}


def main() -> None:
    """Print all times and the ratio as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="deepgaze2")
    parser.add_argument("--n", type=int, default=700)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = read_dataset(arguments.data)
    n_paths = min(arguments.n, len(data))
    paths = [data.image_path(k).resolve() for k in range(n_paths)]
    times: dict[str, list[float]] = {"loop": [], "folder": []}
    with tempfile.TemporaryDirectory() as folder:
        few, names = Path(folder, "few.txt"), Path(folder, "names.txt")
        write_text(few, "\n".join(map(str, paths[:2])) + "\n")
        write_text(names, "\n".join(map(str, paths)) + "\n")
        for way in times:
            seconds_of(way, Path(folder, f"{way}_first"), arguments.model, few)
        for turn in range(arguments.repeats):
            for way in times:
                output = Path(folder, f"{way}_{turn}")
                seconds = seconds_of(way, output, arguments.model, names)
                times[way].append(seconds)
        loop, ours = (results(Path(folder, f"{way}_0")) for way in times)
        assert len(loop) == 2 * len(paths) and loop.keys() == ours.keys()
        same = all(loop[n].read_bytes() == ours[n].read_bytes() for n in loop)
        kept = {
            kind: sum(p.stat().st_size for p in ours.values() if p.suffix == kind)
            for kind in (".npy", ".png")
        }
    medians = {way: statistics.median(values) for way, values in times.items()}
    result = {
        "model": arguments.model,
        "photographs": len(paths),
        "loop_seconds": [round(value, 2) for value in times["loop"]],
        "folder_seconds": [round(value, 2) for value in times["folder"]],
        "loop_over_folder": round(medians["loop"] / medians["folder"], 3),
        "folder_photographs_per_second": round(len(paths) / medians["folder"], 3),
        "same_bytes": same,
        "npy_bytes_per_photograph": kept[".npy"] // len(paths),
        "png_bytes_per_photograph": kept[".png"] // len(paths),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        write_text(arguments.json, text + "\n")


if __name__ == "__main__":
    main()

"""What predictions of a thousand million photographs cost, from measured figures.

    python experiments/cost_model.py [--images 1e9] [--days 30] [--busy 0.8]

prints the tables of README.md in this folder. Seconds and bytes per photograph are
those of `results/stage_costs.json`, where all photographs have one size.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from deepgaze_jax.prediction import load_pretrained

STAGES = Path(__file__).parent / "results" / "stage_costs.json"
OVERLAY = ("draw the overlay", "compress the overlay")

#: Output channels of VGG-19's convolutions, and how often the maps are halved before.
VGG19 = [(64, 0), (64, 0), (128, 1), (128, 1)]
VGG19 += [(256, 2)] * 4 + [(512, 3)] * 4 + [(512, 4)] * 4


def vgg19_multiply_adds(height: int, width: int) -> float:
    """Return the multiply-adds of VGG-19's convolutions on an image.

    Args:
        height: of the image that the network sees.
        width: its width.
    """
    total, channels = 0.0, 3
    for wide, halved in VGG19:
        cells = math.ceil(height / 2**halved) * math.ceil(width / 2**halved)
        total += 9 * channels * wide * cells
        channels = wide
    return total


def work(one: dict[str, Any], rate: float, busy: float) -> dict[str, float]:
    """Return the rows of the table of work.

    Args:
        one: seconds and bytes of a model, per photograph.
        rate: photographs a second.
        busy: share of the time that cores compute.
    """
    cores = {step: value["core_seconds"] for step, value in one["steps"].items()}
    overlay = sum(cores[step] for step in OVERLAY)
    without = sum(cores.values()) - overlay
    gigabit = 8e-9 * rate
    return {
        "core seconds a photograph: densities": without,
        "core seconds a photograph: overlay as well": without + overlay,
        "cores for densities": rate * without / busy,
        "cores for densities and overlays": rate * (without + overlay) / busy,
        "Gbit/s of photographs": gigabit * one["bytes"]["photograph"],
        "Gbit/s of densities, h5 and float16": gigabit * one["bytes"]["h5, float16"],
        "Gbit/s of densities, npy": gigabit * one["bytes"]["npy"],
    }


def table(title: str, columns: dict[str, dict[str, float]], digits: int) -> str:
    """Return a table as Markdown; numbers above 100 are whole."""
    lines = [f"| {title} | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 1)}"]
    for row in next(iter(columns.values())):
        values = [one[row] for one in columns.values()]
        cells = [f"{v:.{0 if v >= 100 else digits}f}" for v in values]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables, and the arithmetic of the network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=float, default=1e9)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--busy", type=float, default=0.8, help="share of the time")
    arguments = parser.parse_args()
    stages = json.loads(STAGES.read_text(encoding="utf-8"))
    rate = arguments.images / (86400 * arguments.days)
    titles = {"icf": "ICF", "deepgaze2": "DeepGaze II"}
    models = {titles[name]: one for name, one in stages["models"].items()}
    columns = {name: work(one, rate, arguments.busy) for name, one in models.items()}
    print(f"{rate:.0f} photographs a second\n\n{table('in all', columns, 2)}\n")
    columns = {
        name: {kind: 1e-12 * arguments.images * n for kind, n in one["bytes"].items()}
        for name, one in models.items()
    }
    print(table("TB", columns, 1))
    predictor = load_pretrained("deepgaze2")
    seen = predictor.model_size((stages["height"], stages["width"]))
    seen = [-(-n // predictor.model.downsample) for n in seen]
    flops = 2 * vgg19_multiply_adds(*seen)
    print(
        f"\nVGG-19 sees {seen[0]}x{seen[1]} pixels: {flops / 1e9:.0f} GFLOP a "
        f"photograph, {rate * flops / 1e12:.0f} TFLOP/s in all"
    )


if __name__ == "__main__":
    main()

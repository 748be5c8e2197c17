"""The published training: SALICON, then MIT1003, then the densities of MIT300.

    python experiments/mit1003/run.py --dry-run
    python experiments/mit1003/run.py --salicon SALICON/ --mit1003 MIT1003/ \
        --mit300 MIT300/ --work runs/mit1003

From the original downloads: SALICON's `train/*.mat` with the pictures of COCO below
the same folder, MIT1003's `ALLSTIMULI.zip` and `DATA.zip`, and the pictures of MIT300.
Every step is a command of `deepgaze`, printed before it runs; what is finished is not
run again, and an interrupted step goes on. Writes into `--work`: the data sets, both
runs, `mit1003.csv` and `.json` (LL, IG and the rest of DeepGaze II, center bias and
gold standard), `summary.json` (the same of the 463 images of 1024x768 pixels that the
paper evaluates), the model `deepgaze2-mit1003.safetensors`, and `mit300.h5` for the
benchmark.

As in the paper, pre-training sees SALICON's pictures as they are
(`--salicon-pixels-per-dva 35`) and stops on MIT1003, and fine-tuning has ten folds of
pictures of 1024x768 or 768x1024. Unlike it, folds are 8/1/1, so that the test part
never says when to stop; the solver is Adam; SALICON's pictures are not seen halved too.

`--dry-run` prints the commands and estimates time and disk (`estimate.py`). This has
been run on small made-up files in the original formats (a test does), not on the real
data, which have to be fetched by hand.
"""

import argparse
import csv
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from estimate import Plan, text

from deepgaze_jax.architectures import ARCHITECTURES
from deepgaze_jax.cli import main as deepgaze
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import InputError
from deepgaze_jax.metrics import (
    bootstrap_interval,
    information_gain_explained,
    information_gain_explained_interval,
)

MODEL, GOLD = "deepgaze2", "gold-standard"
EVALUATED = (768, 1024)


def steps(arguments: argparse.Namespace) -> list[tuple[Path, list[str]]]:
    """Return every command with the file that is there when it is done."""
    work = arguments.work
    runs, data = work / "runs", work / "data"
    model = work / "deepgaze2-mit1003.safetensors"
    accept = ["--accept", *arguments.accept] if arguments.accept else []
    salicon = ["--edition", arguments.edition, "--kind", arguments.kind]
    salicon += ["--pixels-per-dva", str(arguments.salicon_pixels_per_dva)]
    network = ["--architecture", arguments.architecture, "--input-scale", "1"]

    def epochs(n: int | None) -> list[str]:
        return [] if n is None else ["--epochs", str(n)]

    def imported(name: str, source: Path, options: Sequence[str]) -> list[str]:
        words = ["data", "import", name, str(source), "--name", name]
        return [*words, *options, *accept]

    pre, fine = runs / "salicon", runs / "mit1003"
    return [
        (
            data / "salicon/meta.json",
            imported("salicon", arguments.salicon, ["--split", "train", *salicon]),
        ),
        (data / "mit1003/meta.json", imported("mit1003", arguments.mit1003, [])),
        (
            pre / "model.safetensors",
            [
                *("train", "--data", "salicon", "--folds", "all"),
                *("--stop-on", "mit1003", *network),
                *epochs(arguments.pretraining_epochs),
                *("-o", str(pre), "--resume"),
            ],
        ),
        (
            fine / "model.safetensors",
            [
                *("train", "--data", "mit1003", "--from", str(pre), "--what", "all"),
                "--unify-sizes",
                *epochs(arguments.epochs),
                *("-o", str(fine), "--resume"),
            ],
        ),
        (
            work / "mit1003.json",
            [
                *("evaluate", "--data", "mit1003", "-o", str(work / "mit1003.csv")),
                *("--model", f"{MODEL}={fine}", "center-bias", GOLD),
            ],
        ),
        (model, ["export", str(fine), "-o", str(model)]),
        (
            work / "mit300.h5",
            [
                *("benchmark-file", str(model), str(arguments.mit300)),
                *("-o", str(work / "mit300.h5")),
            ],
        ),
    ]


def summary(work: Path, size: tuple[int, int] | None = EVALUATED) -> dict[str, object]:
    """Return the means of the images that the paper evaluates.

    Args:
        work: with `data/mit1003` and `mit1003.csv`.
        size: height and width of these images; None for all.
    """
    dataset = read_folder(work / "data/mit1003")
    wanted = {
        name
        for name, found in zip(dataset.image_names, dataset.image_sizes, strict=True)
        if size is None or tuple(found) == size
    }
    gains: dict[str, list[float]] = {}
    with (work / "mit1003.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["image"] in wanted:
                gains.setdefault(row["model"], []).append(float(row["ig"]))
    if not gains:
        return {"size": size, "n_images": 0}
    own, gold = np.array(gains[MODEL]), np.array(gains[GOLD])
    explained = None
    try:
        low, high = information_gain_explained_interval(own, gold)
        mean = information_gain_explained(own, gold)
        explained = {"mean": mean, "low": low, "high": high}
    except InputError as error:  # The gold standard explains nothing.
        print(error)
    return {
        "size": size,
        "n_images": len(own),
        "information_gain": {
            name: {
                "mean": float(np.mean(values)),
                "interval": bootstrap_interval(values),
            }
            for name, values in gains.items()
        },
        "information_gain_explained": explained,
        "images_with_negative_information_gain": int((own < 0).sum()),
    }


def options() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path("downloads")
    parser.add_argument("--salicon", type=Path, default=here / "SALICON")
    parser.add_argument("--mit1003", type=Path, default=here / "MIT1003")
    parser.add_argument("--mit300", type=Path, default=here / "MIT300")
    parser.add_argument("--work", type=Path, default=Path("runs/mit1003"))
    parser.add_argument("--edition", choices=["2015", "2017"], default="2017")
    parser.add_argument("--kind", choices=["fixations", "mouse"], default="fixations")
    parser.add_argument("--salicon-pixels-per-dva", type=float, default=35.0)
    parser.add_argument("--accept", nargs="*", help="checks of both imports")
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="deepgaze2")
    parser.add_argument("--pretraining-epochs", type=int)
    parser.add_argument("--epochs", type=int, help="of fine-tuning")
    parser.add_argument("--dry-run", action="store_true")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not finished; return the exit code of what failed, or 0."""
    arguments = options().parse_args(argv)
    commands = steps(arguments)
    if arguments.dry_run:
        for _, command in commands:
            print(f"deepgaze {shlex.join(command)}")
        plan = Plan(ARCHITECTURES[arguments.architecture]())
        if arguments.architecture == "deepgaze2":
            print(text(plan))
        else:
            print("time and disk are estimated for --architecture deepgaze2 only")
        return 0
    for source in (arguments.salicon, arguments.mit1003, arguments.mit300):
        if not source.exists():
            print(f"{source}: no such folder; fetch it, or say where it is")
            return 2
    # Imports go there, and --data finds them by name.
    os.environ["DEEPGAZE_DATA"] = str(arguments.work / "data")
    for product, command in commands:
        if product.exists():
            print(f"{product} is there")
            continue
        print(f"deepgaze {shlex.join(command)}", flush=True)
        if code := deepgaze(command):
            return code
    result = {"paper": summary(arguments.work), "all": summary(arguments.work, None)}
    path = arguments.work / "summary.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {json.dumps(result['all'])}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

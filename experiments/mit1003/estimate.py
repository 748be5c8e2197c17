"""How long `run.py` takes and what it needs of the disk, before anything is run.

Counted are multiply-adds, bytes of features and pixels. This machine's rates come from
stored measurements (`results/ten_folds.json`, and the times in the docstrings of
`osie/`), all of 2 cores, but for its disk; those of an H100 are assumptions, for
nothing of this has been run on one. Each is stated where it is set.
"""

import dataclasses
import itertools
import json
from pathlib import Path

from deepgaze_jax.datasets.features import stored_maps
from deepgaze_jax.model import FixationModel
from deepgaze_jax.ops import scaled_size

RESULTS = Path(__file__).parents[1] / "results"
# Output channels of VGG-19's layers up to conv5_4; None is a 2x2 pooling.
VGG19 = (
    *(64, 64, None, 128, 128, None, 256, 256, 256, 256, None),
    *(512, 512, 512, 512, None, 512, 512, 512, 512),
)


@dataclasses.dataclass(frozen=True)
class Part:
    """A data set as far as its size counts.

    Attributes:
        n_images: number of images.
        height: of an image, pixels.
        width: of an image, pixels.
        kilobytes: of a picture's file, on average.
    """

    n_images: int
    height: int
    width: int
    kilobytes: float


# Sizes of files are rough; counts and pixels are those of the publications. Most images
# of MIT1003 have 1024x768 pixels, none more.
PARTS = {
    "salicon": Part(10_000, 480, 640, 160),
    "mit1003": Part(1_003, 768, 1024, 270),
    "mit300": Part(300, 768, 1024, 270),
}


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a machine does in a second.

    Attributes:
        network: multiply-adds of a feature network.
        readout: multiply-adds of training, all folds of a run together.
        solo: the same of a run with a single readout.
        feature_bytes: features brought from the disk to the device.
        pictures: pictures decoded, scored and written, of 800x600 pixels.
    """

    network: float
    readout: float
    solo: float
    feature_bytes: float
    pictures: float


def vgg_multiply_adds(height: int, width: int) -> float:
    """Return the multiply-adds of VGG-19 up to conv5_4 for an image."""
    total, before = 0.0, 3
    for channels in VGG19:
        if channels is None:
            height, width = -(-height // 2), -(-width // 2)
        else:
            total += 9.0 * before * channels * height * width
            before = channels
    return total


def readout_multiply_adds(model: FixationModel, cells: int) -> float:
    """Return the multiply-adds of one readout for an image, forward only."""
    widths = (model.channels, *model.widths)
    return float(cells) * sum(a * b for a, b in itertools.pairwise(widths))


def this_machine() -> Machine:
    """Return the measured rates: 2 cores."""
    ten = json.loads((RESULTS / "ten_folds.json").read_text(encoding="utf-8"))
    product = 1e9 * ten["matmul_giga_multiply_adds_per_second"]
    # osie/deepgaze2_paper.py: the features of 700 photographs took about 20 minutes,
    # which the model sees with 584x438 pixels.
    network = 700 * vgg_multiply_adds(438, 584) / (20 * 60)
    return Machine(
        network=network,
        readout=product / ten["epoch_over_floor"],
        # A floor is of ten readouts; the epoch of one is that of a single one.
        solo=product * ten["floor_seconds"] / 10 / ten["solo_epoch_seconds"],
        # Assumed: SALICON's do not fit into the memory, so each epoch reads the disk.
        feature_bytes=1e9,
        # osie/evaluation.py: five models on 700 images in about 15 minutes.
        pictures=5 * 700 / (15 * 60),
    )


def h100() -> Machine:
    """Return assumed rates of one H100 beside 16 cores; nothing here is measured.

    33.5e12 multiply-adds a second is the highest float32 rate of the SXM type without
    TF32; 30 % of it for the convolutions, 10 % for the readouts; 5 GB/s from the disk
    through the host; eight times the pictures of 2 cores.
    """
    peak = 33.5e12
    return Machine(
        network=0.3 * peak,
        readout=0.1 * peak,
        solo=0.1 * peak,
        feature_bytes=5e9,
        pictures=8 * this_machine().pictures,
    )


RATES = {"this machine (2 cores)": this_machine, "one H100 (assumed)": h100}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        model: features and readout.
        input_scale: resize of every picture in front of the model.
        pretraining_epochs: at most; fewer where it stops early.
        epochs: of fine-tuning, at most.
        n_folds: readouts that are fine-tuned.
    """

    model: FixationModel
    input_scale: float = 1.0
    pretraining_epochs: int = 20
    epochs: int = 10
    n_folds: int = 10

    def cells(self, part: Part) -> int:
        """Return the feature cells of an image."""
        size = scaled_size(part.height, part.width, self.input_scale)
        rows, columns = self.model.feature_grid(*size)
        return rows * columns

    def feature_bytes(self, part: Part) -> float:
        """Return the bytes that are stored of an image."""
        network = self.model.feature_network
        maps = stored_maps(self.model.taps)
        return 4.0 * self.cells(part) * sum(map(network.tap_channels, maps))

    def network(self, part: Part) -> float:
        """Return the multiply-adds of the feature network for an image."""
        height, width = scaled_size(part.height, part.width, self.input_scale)
        shrunk = -(-height // self.model.downsample), -(-width // self.model.downsample)
        return vgg_multiply_adds(*shrunk)


def seconds(plan: Plan, machine: Machine) -> dict[str, float]:
    """Return the time of each stage, in seconds."""
    salicon, mit1003, mit300 = (PARTS[name] for name in PARTS)

    def epoch(trained: Part, n_trained: float, scored: Part, n_scored: float) -> float:
        """Return the multiply-adds of an epoch, per readout; gradients cost as much."""
        forward = readout_multiply_adds(plan.model, plan.cells(trained)) * n_trained
        return 2 * forward + n_scored * readout_multiply_adds(
            plan.model, plan.cells(scored)
        )

    def reading(*parts: Part) -> float:
        total = sum(part.n_images * plan.feature_bytes(part) for part in parts)
        return total / machine.feature_bytes

    def predicting(part: Part, n_models: int) -> float:
        pixels = part.height * part.width / (800 * 600)
        return n_models * part.n_images * pixels / machine.pictures

    n = mit1003.n_images
    pre = epoch(salicon, salicon.n_images, mit1003, n) / machine.solo
    # Eight tenths of the images train each fold, a tenth says when to stop.
    fine = plan.n_folds * epoch(mit1003, 0.8 * n, mit1003, 0.1 * n) / machine.readout
    return {
        "features of SALICON": salicon.n_images
        * plan.network(salicon)
        / machine.network,
        "features of MIT1003": n * plan.network(mit1003) / machine.network,
        "pre-training": plan.pretraining_epochs * max(pre, reading(salicon, mit1003)),
        "fine-tuning": plan.epochs * max(fine, reading(mit1003)),
        "evaluation": predicting(mit1003, 3),
        "densities of MIT300": mit300.n_images * plan.network(mit300) / machine.network
        + predicting(mit300, 1),
    }


def gigabytes(plan: Plan) -> dict[str, float]:
    """Return what is written to the disk, in 10^9 bytes, beside the downloads."""
    salicon, mit1003, mit300 = (PARTS[name] for name in PARTS)
    pictures = sum(p.n_images * 1e3 * p.kilobytes for p in (salicon, mit1003))
    densities = mit300.n_images * 4.0 * mit300.height * mit300.width
    return {
        "pictures of the imported data sets": pictures / 1e9,
        "features of SALICON": salicon.n_images * plan.feature_bytes(salicon) / 1e9,
        "features of MIT1003": mit1003.n_images * plan.feature_bytes(mit1003) / 1e9,
        "densities of MIT300, before they are compressed": densities / 1e9,
    }


def text(plan: Plan) -> str:
    """Return the estimate for people."""
    lines = ["Time, at most (training stops early), without download and import:"]
    times = {name: seconds(plan, rates()) for name, rates in RATES.items()}
    width = max(len(stage) for stage in next(iter(times.values())))
    lines.append(" " * width + "".join(f"  {name:>24}" for name in times))
    stages = next(iter(times.values()))
    for stage in [*stages, "together"]:
        cells = ""
        for one in times.values():
            value = sum(one.values()) if stage == "together" else one[stage]
            cells += f"  {_duration(value):>24}"
        lines.append(f"{stage:{width}}{cells}")
    sizes = gigabytes(plan)
    lines.append("Disk, beside the downloads:")
    lines += [f"{value:8.1f} GB  {what}" for what, value in sizes.items()]
    lines.append(f"{sum(sizes.values()):8.1f} GB  together")
    lines.append(
        "Rates of this machine are those measured on OSIE, of the H100 assumed: see "
        "experiments/mit1003/estimate.py"
    )
    return "\n".join(lines)


def _duration(value: float) -> str:
    if value < 90:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"

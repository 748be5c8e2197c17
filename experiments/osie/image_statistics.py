"""What the photographs of OSIE and the fixations on them are like, a row each.

    python experiments/osie/image_statistics.py --data ../shared/data/osie

Writes `results/osie_image_statistics.csv`, which `claims.py` reads. Of the luminance
(Rec. 709 weights of the values 0..1): mean, standard deviation (contrast), and mean
length of the gradient (edges), per pixel. Colourfulness is that of Hasler and Süsstrunk
(2003), of values 0..1. Of the fixations: their entropy over cells of 50 px, bits; and
the AUC of local contrast (the standard deviation of the luminance within a Gaussian of
12 px) for them: how far people look where contrast is high. Two minutes of one core.
"""

import argparse
import csv

import numpy as np
from _osie import RESULTS
from scipy.ndimage import gaussian_filter

from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.metrics import auc

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
CELL_PX = 50
WIDTH_PX = 12.0


def colourfulness(rgb: np.ndarray) -> float:
    """Return Hasler and Süsstrunk's measure of values 0..1, [height, width, 3]."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    spread, centre = opponents.std(axis=(1, 2)), opponents.mean(axis=(1, 2))
    return float(np.hypot(*spread) + 0.3 * np.hypot(*centre))


def local_contrast(luminance: np.ndarray) -> np.ndarray:
    """Return the standard deviation around each pixel, [height, width]."""
    mean, square = (
        gaussian_filter(values, WIDTH_PX) for values in (luminance, luminance**2)
    )
    return np.sqrt(np.maximum(square - mean**2, 0))


def entropy_bits(x: np.ndarray, y: np.ndarray, height: int, width: int) -> float:
    """Return the entropy of the fixations over cells."""
    rows, columns = -(-height // CELL_PX), -(-width // CELL_PX)
    cell = (y // CELL_PX).astype(int) * columns + (x // CELL_PX).astype(int)
    share = np.bincount(cell, minlength=rows * columns) / len(cell)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def statistics(dataset: FixationDataset, image: int) -> dict[str, float]:
    """Return all numbers of an image."""
    rgb = dataset.image(image).astype(np.float64) / 255
    luminance = rgb @ LUMINANCE
    own = dataset.fixations.of_images(image)
    return {
        "luminance": luminance.mean(),
        "contrast": luminance.std(),
        "edges": np.hypot(*np.gradient(luminance)).mean(),
        "colourfulness": colourfulness(rgb),
        "entropy_of_fixations": entropy_bits(own.x, own.y, *luminance.shape),
        "auc_of_contrast": auc(local_contrast(luminance), own.x, own.y).mean(),
    }


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    dataset = read_folder(parser.parse_args().data)
    rows = [statistics(dataset, image) for image in range(len(dataset))]
    path = RESULTS / "osie_image_statistics.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *rows[0]])
        for name, row in zip(dataset.image_names, rows, strict=True):
            writer.writerow([name, *(round(float(v), 5) for v in row.values())])


if __name__ == "__main__":
    main()

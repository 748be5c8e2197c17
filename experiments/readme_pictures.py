"""Overlays of the shipped model on photographs in the public domain, for README.md.

    python experiments/readme_pictures.py ASTRONAUT.png

The first photograph is matplotlib's sample (United States Navy); the second, NASA's
portrait of Eileen Collins, is `astronaut.png` of the sample data of scikit-image.
"""

import argparse
import io
from pathlib import Path

import matplotlib.cbook
from PIL import Image

from deepgaze_jax.images import load_image
from deepgaze_jax.plotting import overlay
from deepgaze_jax.prediction import load_pretrained

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Write both overlays as JPEG files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("astronaut", type=Path)
    arguments = parser.parse_args()
    hopper = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    predictor = load_pretrained("deepgaze2")
    for name, path in (("hopper", hopper), ("astronaut", arguments.astronaut)):
        image = load_image(path)
        picture = Image.fromarray(overlay(image, predictor.predict(image)))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=88)
        (DOCS / f"overlay_{name}.jpg").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()

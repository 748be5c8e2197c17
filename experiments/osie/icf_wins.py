"""How sure it is that ICF is better than DeepGaze II where it is.

    python experiments/osie/icf_wins.py --data ../shared/data/osie

For each image on which ICF has the higher information gain (`osie_claims.json`), the
difference in log-likelihood of every fixation, by the folds that have not seen the
image, as a mean over the fixations of each person. Writes `results/osie_icf_wins.json`:
the mean over fixations, as in the claims, for how many people ICF is better, and the
95 % interval by bootstrap over people. Half a minute on 2 cores, 1 GB.
"""

import argparse
import json

import numpy as np
from _osie import RESULTS

from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.metrics import log_likelihood
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.predictor import Predictor
from deepgaze_jax.summaries import bootstrap_interval


def difference(
    better: Predictor, other: Predictor, dataset: FixationDataset, image: int
) -> dict[str, float]:
    """Return how much better a model is on an image, for its people."""
    own = dataset.fixations.of_images(image)
    picture = dataset.image(image)
    bits = [
        log_likelihood(model.predict(picture, fold="auto"), own.x, own.y)
        for model in (better, other)
    ]
    gap = bits[0] - bits[1]
    people = np.array([gap[own.subject == k].mean() for k in np.unique(own.subject)])
    low, high = bootstrap_interval(people)
    return {
        "mean_over_fixations": float(gap.mean()),
        "mean_over_people": float(people.mean()),
        "low": low,
        "high": high,
        "n_people": len(people),
        "n_better": int((people > 0).sum()),
        "fixations_better": float((gap > 0).mean()),
    }


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    dataset = read_folder(parser.parse_args().data)
    claims = json.loads((RESULTS / "osie_claims.json").read_text(encoding="utf-8"))
    images = claims["icf_beats_deepgaze2"]["images"]
    icf, deepgaze2 = (
        load_pretrained(name) for name in ("icf-osie", "deepgaze2-osie-paper")
    )
    found = {
        name: difference(icf, deepgaze2, dataset, dataset.image_names.index(name))
        for name in sorted(images, key=lambda name: -images[name])
    }
    sure = [name for name, one in found.items() if one["low"] > 0]
    result = {"images": found, "sure": sure}
    text = json.dumps(result, indent=1) + "\n"
    (RESULTS / "osie_icf_wins.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

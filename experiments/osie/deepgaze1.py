"""DeepGaze I on OSIE: trains ten folds, scores the test parts, writes the release.

    python experiments/osie/deepgaze1.py --data ../shared/data/osie --run runs/deepgaze1

Writes `results/osie_deepgaze1.csv` (one row per image) and `.json` (means and
intervals), and `deepgaze_jax/pretrained/deepgaze1-osie`: same code, folds and center
biases as DeepGaze II. The configuration was chosen on validation parts
(`search.py`); the test parts are scored here, once. Needs AlexNet: `deepgaze
weights fetch alexnet`.

Time on 2 cores: about 3 minutes. Disk: 0.7 GB of features in the cache.
"""

from _osie import release

from deepgaze_jax.training import TrainConfig

CONFIG = TrainConfig(architecture="deepgaze1", pixels_per_dva=24.0)

if __name__ == "__main__":
    release("deepgaze1-osie", "osie_deepgaze1", CONFIG, __doc__.splitlines()[0])

"""DeepGaze II on OSIE: trains ten folds, scores the test parts, writes the release.

    python experiments/osie/deepgaze2.py --data ../shared/data/osie --run runs/osie

Writes `results/osie_deepgaze2.csv` (one row per image) and `.json` (means and
intervals), and `deepgaze_jax/pretrained/deepgaze2-osie`. The configuration was chosen
on validation parts (`search.py`); the test parts are scored here, once. An
interrupted run goes on where it stopped.

Time on 2 cores: about 20 minutes for the features of the 700 photographs, then about
5 minutes. Disk: 5.9 GB of features in the cache. Memory: 3 GB.
"""

from _osie import release

from deepgaze_jax.training import TrainConfig

CONFIG = TrainConfig(pixels_per_dva=24.0)

if __name__ == "__main__":
    release("deepgaze2-osie", "osie_deepgaze2", CONFIG, __doc__.splitlines()[0])

"""DeepGaze II with the paper's readout on OSIE: trained, scored, released.

    python experiments/osie/deepgaze2_paper.py --data ../shared/data/osie \
        --run runs/paper

Trains ten folds with the layers (16, 32, 2, 1) of the paper, scores the test parts.
Writes `results/osie_deepgaze2_paper.csv` (one row per image) and `.json` (means and
intervals), and `deepgaze_jax/pretrained/deepgaze2-osie-paper`. The configuration was
chosen on validation parts (`search.py`); the test parts are scored here, once. An
interrupted run goes on where it stopped.

Time on 2 cores: about 20 minutes for the features of the 700 photographs, then about
5 minutes. Disk: 5.9 GB of features in the cache. Memory: 3 GB.
"""

from _osie import release

from deepgaze_jax.training import TrainConfig

CONFIG = TrainConfig(pixels_per_dva=24.0)

if __name__ == "__main__":
    release(
        "deepgaze2-osie-paper",
        "osie_deepgaze2_paper",
        CONFIG,
        __doc__.splitlines()[0],
    )

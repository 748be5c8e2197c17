"""ICF on OSIE: trains ten folds, scores the test parts, writes the release.

    python experiments/osie/icf.py --data ../shared/data/osie --run runs/icf

Writes `results/osie_icf.csv` (one row per image) and `.json` (means and intervals), and
`deepgaze_jax/pretrained/icf-osie`: same code, folds and center biases as DeepGaze II.
The configuration was chosen on validation parts (`search.py`); the test parts are
scored here, once. No weights are needed.

Time on 2 cores: about 10 minutes. Disk: 1.4 GB of features in the cache.
"""

from _osie import release

from deepgaze_jax.training import TrainConfig

# The few channels bear, and need, a higher rate than VGG-19's many.
CONFIG = TrainConfig(architecture="icf", pixels_per_dva=24.0, learning_rate=3e-2)

if __name__ == "__main__":
    release("icf-osie", "osie_icf", CONFIG, __doc__.splitlines()[0])

"""DeepGaze II with a better readout on OSIE: trained, joined, scored, released.

    python experiments/osie/deepgaze2.py --data ../shared/data/osie \
        --run runs/joined

Two layers of 16 units instead of the paper's (16, 32, 2, 1), three seeds of each of
ten folds, joined into one readout of 48 units a fold, whose kernels are stored as
float16: what `readout_search.py` found best on validation parts. Scores the test parts
once, with the file that is written. Writes `results/osie_deepgaze2.csv` (a row for each
image) and `.json` (means and intervals), and `deepgaze_jax/pretrained/deepgaze2-osie`.
An interrupted run goes on where it stopped.

Time on 2 cores, with the feature cache that `deepgaze2_paper.py` leaves: 20 minutes.
Memory: 7 GB.
"""

from _osie import release

from deepgaze_jax.training import TrainConfig

CONFIG = TrainConfig(pixels_per_dva=24.0, widths=(16, 1), n_seeds=3, patience=20)

if __name__ == "__main__":
    release(
        "deepgaze2-osie",
        "osie_deepgaze2",
        CONFIG,
        __doc__.splitlines()[0],
        joined=True,
    )

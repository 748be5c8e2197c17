"""What the search of readouts states in experiments/README.md, from the results."""

from published import EXPERIMENTS, evaluated, scores, spread, stored
from published_tables import pair

_TITLES = {
    ("single", "1"): "one seed, mean of three",
    ("mixture", "2"): "two seeds, mixed",
    ("joined", "2"): "two seeds, joined",
    ("mixture", "3"): "three seeds, mixed",
    ("joined", "3"): "three seeds, joined",
}

#: One seed of folds 0, 3 and 6 each.
_ONE_SEED = {
    "two-layers-16": "two layers of 16 units, mean of three seeds",
    "two-layers-48": "two layers of 48 units",
    "two-layers-16-dropout-0.7": "16, dropout 0.7 instead of 0.5",
    "two-layers-16-epochs-40": "16, 40 epochs instead of 20",
    "two-layers-16-scale-1": "16, input scale 1 instead of 35/24",
}
_TWO_SCALES = ("two-scales-1-and-1.46", "two seeds, of scales 1 and 35/24, mixed")

_DIFFERENCE = ("difference", "difference_low", "difference_high")


def readouts(variant="two-layers-16"):
    return {
        (row["way"], row["seeds"]): row
        for row in stored("osie_readout_search.csv")
        if row["variant"] == variant
    }


def readout_table():
    found = readouts()
    return {title: cells(found[key]) for key, title in _TITLES.items()}


def cells(row):
    return [
        [float(row["validation_information_gain"])],
        [float(row[name]) for name in _DIFFERENCE],
    ]


def one_seed_table():
    rows = {
        title: cells(readouts(variant)["single", "1"])
        for variant, title in _ONE_SEED.items()
    }
    variant, title = _TWO_SCALES
    return {**rows, title: cells(readouts(variant)["mixture", "2"])}


def cost():
    """Hours of all variants, each counted once."""
    seconds = {
        row["variant"]: float(row["seconds"])
        for row in stored("osie_readout_search.csv")
        if row["seconds"]
    }
    return [len(seconds), sum(seconds.values()) / 3600]


def worth_of_seeds():
    gain = {
        key: float(row["validation_information_gain"])
        for key, row in readouts().items()
    }
    one, two, three = (gain[k] for k in _TITLES if k[0] != "mixture")
    return [two - one, three - two, float(readouts()["single", "1"]["seconds"])]


TABLES = {
    (
        EXPERIMENTS,
        "| two layers of 16 units | validation IG | more than the paper's readout |",
    ): readout_table,
    (
        EXPERIMENTS,
        "| one seed | validation IG | more than the paper's readout |",
    ): one_seed_table,
}


def default_on_test_parts():
    explained = evaluated("deepgaze2-osie")["per_image"]["ig_explained"]
    return [
        *(
            scores(stem)["per_image"]["ig"]["mean"]
            for stem in ("deepgaze2", "deepgaze2_paper")
        ),
        *pair("deepgaze2-osie", "deepgaze2-osie-paper"),
        100 * explained["mean"],
    ]


def default_explains():
    explained = evaluated("deepgaze2-osie")["per_image"]["ig_explained"]
    return [100 * value for value in spread(explained)]


def worth_of_scale():
    one, other = (
        float(readouts(variant)["single", "1"]["validation_information_gain"])
        for variant in ("two-layers-16", "two-layers-16-scale-1")
    )
    return [one - other]


SENTENCES = [
    (EXPERIMENTS, r"scale is better than 1 by ([\d.]+), as for", worth_of_scale),
    (
        EXPERIMENTS,
        r"it reaches ([\d.]+) instead of ([\d.]+): ([\d.]+) \(([\d.]+) to ([\d.]+)\) "
        r"more, ([\d.]+) % of what",
        default_on_test_parts,
    ),
    (
        EXPERIMENTS,
        r"the default model explains ([\d.]+) % \(([\d.]+) to ([\d.]+)\)",
        default_explains,
    ),
    (EXPERIMENTS, r"All (\d+) variants together: ([\d.]+) hours", cost),
    (
        EXPERIMENTS,
        r"The second seed is worth ([\d.]+), the third ([\d.]+)\. Training the three "
        r"seeds of three folds took (\d+) s",
        worth_of_seeds,
    ),
]

"""What the search of readouts states in experiments/README.md, from the results."""

from published import EXPERIMENTS, stored

_TITLES = {
    ("single", "1"): "one seed, mean of three",
    ("mixture", "2"): "two seeds, mixed",
    ("joined", "2"): "two seeds, joined",
    ("mixture", "3"): "three seeds, mixed",
    ("joined", "3"): "three seeds, joined",
}


def readouts(variant="two-layers-16"):
    return {
        (row["way"], row["seeds"]): row
        for row in stored("osie_readout_search.csv")
        if row["variant"] == variant
    }


def readout_table():
    found = readouts()
    difference = ("difference", "difference_low", "difference_high")
    return {
        title: [
            [float(found[key]["validation_information_gain"])],
            [float(found[key][name]) for name in difference],
        ]
        for key, title in _TITLES.items()
    }


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
        "| two layers of 16 units | validation IG | more than the released readout |",
    ): readout_table,
}

SENTENCES = [
    (
        EXPERIMENTS,
        r"The second seed is worth ([\d.]+), the third ([\d.]+)\. Training the three "
        r"seeds of three folds took (\d+) s",
        worth_of_seeds,
    ),
]

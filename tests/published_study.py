"""What the study's tables in experiments/README.md state, from the results."""

from published import EXPERIMENTS, stored

#: Images of the figures with photographs: the gain of each model on them.
SHOWN = (
    *("1309.jpg", "1454.jpg", "1308.jpg"),
    *("1602.jpg", "1150.jpg", "1092.jpg"),
    *("1164.jpg", "1632.jpg", "1542.jpg"),
    *("1067.jpg", "1030.jpg", "1250.jpg"),
)


def shown_images():
    gain = {
        (row["image"], row["model"]): float(row["ig"])
        for row in stored("osie_evaluation.csv")
    }
    models = (
        "gold-standard",
        "deepgaze2-osie-paper",
        "deepgaze1-osie",
        "icf-osie",
    )
    return {
        f"`{image}`": [[], *([gain[image, model]] for model in models), []]
        for image in SHOWN
    }


def features_times_readout():
    found = stored("osie_features_times_readout.json")

    def cell(one):
        return [one[key] for key in ("mean", "low", "high")]

    gain = found["information_gain"]
    rows = {
        features: [
            *(cell(gain[f"{features}, {how}"]) for how in ("linear", "deep")),
            cell(found["deep_minus_linear"][features]),
        ]
        for features in ("AlexNet", "VGG-19")
    }
    better = found["features"]["VGG-19 minus AlexNet"]
    rows["VGG-19 minus AlexNet"] = [
        *(cell(better[how]) for how in ("linear", "deep")),
        cell(found["interaction"]["VGG-19, AlexNet"]),
    ]
    return rows


STUDY_TABLES = {
    (
        EXPERIMENTS,
        "| test IG | linear readout | the paper's four layers | deep minus linear |",
    ): features_times_readout,
    (
        EXPERIMENTS,
        "| image | figure | gold standard | DeepGaze II | DeepGaze I | ICF | to the "
        "eye |",
    ): shown_images,
}


def sure_of_icf():
    """The one image that ICF is surely better on, and how many people of the others."""
    found = dict(stored("osie_icf_wins.json")["images"])
    (name,) = stored("osie_icf_wins.json")["sure"]
    one = found.pop(name)
    n_better = [other["n_better"] for other in found.values()]
    return [
        *(one[key] for key in ("mean_over_people", "low", "high", "n_better")),
        one["n_people"],
        min(n_better),
        max(n_better),
        one["n_people"],
    ]


STUDY_SENTENCES = [
    (
        EXPERIMENTS,
        r"above 0 on one of the nine: `1150\.jpg`, ([\d.]+) \(([\d.]+) to ([\d.]+)\), "
        r"for (\d+) people of (\d+)\. On the other eight (\d+) to (\d+) people of "
        r"(\d+)",
        sure_of_icf,
    ),
]

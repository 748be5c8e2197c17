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
    models = ("gold-standard", "deepgaze2-osie", "deepgaze1-osie", "icf-osie")
    return {
        f"`{image}`": [[], *([gain[image, model]] for model in models), []]
        for image in SHOWN
    }


def spread(one):
    return [one["mean"], one["low"], one["high"]]


def features_times_readout():
    found = stored("osie_features_times_readout.json")
    return {
        features: [
            spread(found["information_gain"][f"{features}, linear"]),
            spread(found["information_gain"][f"{features}, deep"]),
            spread(gain),
        ]
        for features, gain in found["deep_minus_linear"].items()
    }


def numbers_of(row, *names):
    return [float(row[name]) for name in names]


def growth():
    """Rows from few to many, without the one that is in the stored table twice."""
    rows = {}
    for row in stored("osie_growth.csv"):
        less = ("less_the_released", "less_the_released_low", "less_the_released_high")
        title = f"{row['n']} images" if row["grows"] == "images" else None
        title = title or f"280 images, {row['n']} of 15 people"
        rows[title] = [
            numbers_of(row, "train_images_per_fold"),
            numbers_of(row, "information_gain", "low", "high"),
            numbers_of(row, *less),
        ]
    return {title: cells for title, cells in rows.items() if "15 of 15" not in title}


def tap_rows(*kinds):
    rows = {}
    for row in stored("osie_taps.csv"):
        if row["kind"] not in kinds:
            continue
        title = f"`{row['taps']}`"
        if row["kind"] == "five":
            title = "the paper's five" + ", another seed" * (row["seed"] != "0")
        elif row["kind"] == "many":
            title = "all eight" if row["block"] == "5" else "all four before the ReLU"
            title += f" of block {row['block']}"
        elif row["kind"] == "one left out":
            (out,) = {*FIVE} - {*row["taps"].split("+")}
            title = f"without `{out}`"
        less = ("less_the_five", "less_the_five_low", "less_the_five_high")
        rows[title] = [
            numbers_of(row, "validation_information_gain", "low", "high"),
            numbers_of(row, *less),
        ]
    return rows


FIVE = ("conv5_1", "relu5_1", "relu5_2", "conv5_3", "relu5_4")


STUDY_TABLES = {
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

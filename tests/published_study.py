"""What the study's tables in experiments/README.md state, from the results."""

from published import EXPERIMENTS, spread, stored

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
    gain = found["information_gain"]
    rows = {
        features: [
            *(spread(gain[f"{features}, {how}"]) for how in ("linear", "deep")),
            spread(found["deep_minus_linear"][features]),
        ]
        for features in ("AlexNet", "VGG-19")
    }
    better = found["features"]["VGG-19 minus AlexNet"]
    rows["VGG-19 minus AlexNet"] = [
        *(spread(better[how]) for how in ("linear", "deep")),
        spread(found["interaction"]["VGG-19, AlexNet"]),
    ]
    return rows


def taps():
    """All sets but the random ones, kind by kind, the best of a kind first."""
    rows = stored("osie_taps.csv")
    five = next(row for row in rows if row["kind"] == "five")["taps"]
    found = {}
    for kind in ("five", "many", "one left out", "one tap"):
        own = [row for row in rows if row["kind"] == kind]
        own.sort(key=lambda row: -float(row["validation_information_gain"]))
        for row in own:
            found[title_of_taps(row, five)] = [
                [float(row["validation_information_gain"])],
                [float(row[f"less_the_five{end}"]) for end in ("", "_low", "_high")],
            ]
    return found


def title_of_taps(row, five):
    names = row["taps"].split("+")
    if row["kind"] == "five":
        return "the paper's five" + ", another seed" * (row["seed"] != "0")
    if row["kind"] == "many":
        return f"the {'eight' if len(names) == 8 else 'four'} of block {row['block']}"
    if row["kind"] == "one left out":
        (out,) = set(five.split("+")) - set(names)
        return f"the five without `{out}`"
    return f"`{names[0]}` alone"


def growth(grows, column):
    """Models by what they were trained on, the smallest first."""
    rows = [row for row in stored("osie_growth.csv") if row["grows"] == grows]
    rows.sort(key=lambda row: float(row[column]))
    return {
        f"{float(row[column]):.0f}": [
            [float(row[key]) for key in ("information_gain", "low", "high")],
            [float(row[f"less_the_released{end}"]) for end in ("", "_low", "_high")],
        ]
        for row in rows
    }


def transferred(data, scale):
    return stored("osie_transfer.json")[data]["by_pixels_per_dva"][scale]


def transfer():
    models = ("deepgaze2-osie", "deepgaze2-osie-paper", "deepgaze1-osie", "icf-osie")
    return {
        f"{data}, at {title} pixels per degree": [
            *(spread(found["models"][model]["ig"]) for model in models),
            spread(found["deepgaze2-osie minus"]["deepgaze2-osie-paper"]),
        ]
        for data in ("FIGRIM", "SALICON")
        for scale, title in (("unknown", "24"), ("35", "35"))
        for found in [transferred(data.lower(), scale)]
    }


STUDY_TABLES = {
    (
        EXPERIMENTS,
        "| IG, bit/fixation | DeepGaze II | the paper's readout | DeepGaze I | ICF | "
        "DeepGaze II minus the paper's readout |",
    ): transfer,
    (
        EXPERIMENTS,
        "| taps | validation IG | more than the paper's five |",
    ): taps,
    (
        EXPERIMENTS,
        "| training images of a fold | test IG | more than with all |",
    ): lambda: growth("images", "train_images_per_fold"),
    (
        EXPERIMENTS,
        "| people, on 280 images | test IG | more than with all |",
    ): lambda: growth("people", "people"),
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


def other_data():
    found = stored("osie_transfer.json")
    figrim, salicon = found["figrim"], found["salicon"]
    return [
        *(figrim[key] for key in ("n_images", "n_subjects", "n_fixations")),
        *(salicon[key] for key in ("n_images", "n_subjects")),
    ]


def auc_on_salicon():
    models = transferred("salicon", "unknown")["models"]
    return [
        models[f"{name}-osie"]["auc"]["mean"] for name in ("deepgaze2", "deepgaze1")
    ]


def scale_on_figrim():
    one, other = (
        transferred("figrim", scale)["models"]["deepgaze2-osie"]["ig"]["mean"]
        for scale in ("35", "unknown")
    )
    return [one - other]


def grown():
    rows = stored("osie_growth.csv")
    gain = {
        (row["grows"], int(row["n"])): float(row["information_gain"]) for row in rows
    }
    seconds = [float(row["seconds"]) for row in rows if row["seconds"]]
    return {
        "doubling": [gain["images", 560] - gain["images", 280]],
        "people": [gain["people", 1], gain["images", 35]],
        # All people on 280 images stand in both tables.
        "hours": [sum(seconds[:-1]) / 3600],
    }


def best_single_tap():
    (row,) = (row for row in stored("osie_taps.csv") if row["taps"] == "conv5_3")
    return [-float(row["less_the_five"])]


def one_left_out():
    rows = [row for row in stored("osie_taps.csv") if row["kind"] == "one left out"]
    lost = sorted(-float(row["less_the_five"]) for row in rows)
    return [lost[0], lost[-1]]


def random_taps():
    found = stored("osie_taps.json")["random"]
    names = ("n_of_block_5", "better_than_the_five", "clearly_better", "clearly_worse")
    return [*(found[name] for name in names), found["best"]]


def seeds_of_the_five():
    one, other = stored("osie_taps.json")["seeds_of_the_five"]
    return [abs(one - other)]


def block_4():
    rows = [row for row in stored("osie_taps.csv") if row["block"] == "4"]
    (all_of_it,) = (row for row in rows if row["kind"] == "many")
    (last,) = (row for row in rows if row["taps"] == "relu4_4")
    return [float(row["validation_information_gain"]) for row in (all_of_it, last)]


STUDY_SENTENCES = [
    (
        EXPERIMENTS,
        r"its four maps before their ReLUs reach ([\d.]+) together, its best single "
        r"one, `relu4_4`, ([\d.]+)\.",
        block_4,
    ),
    (
        EXPERIMENTS,
        r"`osie_taps\.png` for all (\d+) sets",
        lambda: [stored("osie_taps.json")["n_sets"]],
    ),
    (EXPERIMENTS, r"`conv5_3` alone is ([\d.]+) below the five", best_single_tap),
    (EXPERIMENTS, r"of the five out costs ([\d.]+) to ([\d.]+), so", one_left_out),
    (EXPERIMENTS, r"two seeds of the five differ by ([\d.]+),", seeds_of_the_five),
    (
        EXPERIMENTS,
        r"Of (\d+) random sets of two to seven maps of block 5, (\d+) are better than "
        r"the paper's five and (\d+) clearly so; (\d+) are clearly worse, .*? The best "
        r"random set has ([\d.]+)\.",
        random_taps,
    ),
    (
        EXPERIMENTS,
        r"All of it took ([\d.]+) hours of training beside",
        lambda: [stored("osie_taps.json")["hours"]],
    ),
    (
        EXPERIMENTS,
        r"The last doubling of the images is still worth ([\d.]+),",
        lambda: grown()["doubling"],
    ),
    (
        EXPERIMENTS,
        r"one person on 279 images teaches more \(([\d.]+)\) than fifteen on 31 "
        r"\(([\d.]+)\)",
        lambda: grown()["people"],
    ),
    (
        EXPERIMENTS,
        r"The eight models took ([\d.]+) hours of training",
        lambda: grown()["hours"],
    ),
    (
        EXPERIMENTS,
        r"data sets: (\d+) pictures of FIGRIM \(1000x1000, (\d+) people, ([\d,]+) "
        r"fixations of a memory task\) and (\d+) of SALICON \(640x480, mouse "
        r"movements in the place of gaze, (\d+) people\)",
        other_data,
    ),
    (
        EXPERIMENTS,
        r"the center bias alone has ([\d.]+) bit",
        lambda: [
            transferred("figrim", "unknown")["models"]["center-bias"]["ll"]["mean"]
        ],
    ),
    (EXPERIMENTS, r"not in AUC \(([\d.]+) against ([\d.]+)\)", auc_on_salicon),
    (EXPERIMENTS, r"pixels per degree give ([\d.]+) more", scale_on_figrim),
    (
        EXPERIMENTS,
        r"above 0 on one of the nine: `1150\.jpg`, ([\d.]+) \(([\d.]+) to ([\d.]+)\), "
        r"for (\d+) people of (\d+)\. On the other eight (\d+) to (\d+) people of "
        r"(\d+)",
        sure_of_icf,
    ),
]

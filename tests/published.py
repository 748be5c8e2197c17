"""Numbers in documents, each with the place in `experiments/results` it comes from.

A table is compared cell by cell, a sentence group by group: a printed number has to be
the stored one, rounded to the printed digits. `TABLES` and `SENTENCES` say where each
comes from.
"""

import csv
import json
import re
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
README, EXPERIMENTS = "README.md", "experiments/README.md"
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w.]*\w)")


class Wrong(AssertionError):
    """A printed number is not the stored one."""


@cache
def stored(name):
    """A result file: JSON as it is, CSV as a list of rows."""
    path = RESULTS / name
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def document(name):
    return (ROOT / name).read_text(encoding="utf-8")


def numbers(text):
    """The numbers in a cell; digits within names (`1150.jpg`) are none."""
    return NUMBER.findall(re.sub(r"`[^`]*`", "", text.replace("<br>", " ")))


def compare(where, printed, values):
    """Raises unless the printed numbers are the values, to the printed digits."""
    if len(printed) != len(values):
        raise Wrong(f"{where}: prints {printed}; expected {len(values)} numbers")
    for text, value in zip(printed, values, strict=True):
        plain = text.replace(",", "")
        digits = len(plain.partition(".")[2])
        if f"{abs(float(value)):.{digits}f}" != plain.lstrip("-") or (
            plain.startswith("-") != (value < 0)
        ):
            raise Wrong(f"{where}: prints {text}, the result is {value!r}")


def tables(text):
    """The tables of a document: header -> rows, each a list of cells."""
    found = {}
    lines = text.splitlines()
    for k, line in enumerate(lines):
        if re.fullmatch(r"[|\- ]*\|[|\- ]*---[|\- ]*", line) and k:
            rows = []
            for row in lines[k + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append([cell.strip() for cell in row.strip("|").split("|")])
            header = lines[k - 1]
            # Tables without words in their headers are told apart by their first row.
            header = header if header.strip("| ") else f"| | {rows[0][0]}"
            if header in found:
                raise Wrong(f"two tables have the header {header}")
            found[header] = rows
    return found


def rows_of(name, header):
    """The rows of a table of a document."""
    found = tables(document(name)).get(header)
    if found is None:
        raise Wrong(f"{name}: there is no table {header}")
    return found


def check_rows(rows, expected):
    """Raises unless the rows have these titles, and every cell these numbers."""
    titles = [row[0] for row in rows]
    if titles != list(expected):
        raise Wrong(f"the rows are {titles}; expected {list(expected)}")
    for row, cells in zip(rows, expected.values(), strict=True):
        if len(row) != len(cells) + 1:
            raise Wrong(f"{row[0]}: has {len(row)} cells")
        for k, (cell, values) in enumerate(zip(row[1:], cells, strict=True)):
            compare(f"{row[0]}, column {k + 2}", numbers(cell), values)


def check_sentence(name, text, pattern, values):
    """Raises unless a sentence is there once and has these numbers as its groups."""
    found = list(re.finditer(pattern, " ".join(text.split())))
    if len(found) != 1:
        raise Wrong(f"{name}: {pattern!r} is there {len(found)} times")
    compare(f"{name}: {pattern}", list(found[0].groups()), values)


# --- what the tables and sentences say ------------------------------------------------


def scores(stem):
    return stored(f"osie_{stem}.json")


def evaluated(model):
    return stored("osie_evaluation.json")["models"][model]


def pair(better, worse):
    """Difference in information gain between two models, with its interval."""
    pairs = stored("osie_evaluation.json")["pairs"]
    found = {(one["first"], one["second"]): one["per_image"]["ig"] for one in pairs}
    ig = found[worse, better]
    return [-ig["difference"], -ig["high"], -ig["low"]]


def results_table():
    models = {
        "DeepGaze II (`deepgaze2-osie`)": ("deepgaze2", "deepgaze1-osie"),
        "DeepGaze I (`deepgaze1-osie`)": ("deepgaze1", "icf-osie"),
        "ICF (`icf-osie`)": ("icf", "center-bias"),
    }
    rows = {}
    for title, (stem, below) in models.items():
        means = scores(stem)["per_image"]
        ig = means["ig"]
        rows[title] = [
            [means["ll"]["mean"]],
            [ig["mean"]],
            [ig["low"], ig["high"]],
            [scores(stem)["per_fixation"]["ig"]["mean"]],
            pair(f"{stem}-osie", below),
        ]
    bias = evaluated("center-bias")
    rows["center bias"] = [
        [bias["per_image"]["ll"]["mean"]],
        [bias["per_image"]["ig"]["mean"]],
        [],
        [bias["per_fixation"]["ig"]["mean"]],
        [],
    ]
    return rows


def metrics_table():
    models = {
        "gold standard (other people)": "gold-standard",
        "DeepGaze II": "deepgaze2-osie",
        "DeepGaze I": "deepgaze1-osie",
        "ICF": "icf-osie",
        "center bias": "center-bias",
    }
    metrics = ("ig", "ig_explained", "auc", "sauc", "nss", "cc", "kldiv", "sim")
    rows = {}
    for title, name in models.items():
        one, cells = evaluated(name), []
        for metric in metrics:
            unit = 100 if metric == "ig_explained" else 1
            mean = one["per_image"].get(metric)
            cells.append(
                []
                if mean is None
                else [
                    *(unit * mean[key] for key in ("mean", "low", "high")),
                    unit * one["per_fixation"][metric]["mean"],
                ]
            )
        rows[title] = cells
    return rows


def search_table():
    bold = ("deepgaze2", "deepgaze1", "icf")
    order = (
        *("deepgaze2", "deepgaze2-seed-1", "deepgaze2-rate-3e-3"),
        *("deepgaze2-no-dropout", "deepgaze1", "deepgaze1-dropout"),
        *("deepgaze1-scale-1", "icf", "icf-rate-1e-1", "icf-rate-1e-2"),
        "icf-rate-1e-2-scale-1",
    )
    rows = {row["variant"]: row for row in stored("osie_search.csv")}
    assert set(rows) == set(order)
    return {
        f"**{name}**" if name in bold else name: [
            [float(rows[name]["validation_information_gain"])],
            [float(rows[name]["train_information_gain"])],
            [float(rows[name]["best_epoch"])],
        ]
        for name in order
    }


def ceiling_table():
    ten = stored("osie_gold_standard.json")["ten_folds"]

    def row(name):
        gain = ten[f"{name}_ig"]
        return [
            [ten[f"{name}_ll"]["per_image"]],
            [gain["per_image"]],
            list(gain["interval"]),
        ]

    return {
        "center bias": [[ten["center_bias_ll"]["per_image"]], [0.0], []],
        "gold standard (other people)": row("gold_standard"),
        "joint (everybody, oneself included)": row("joint"),
    }


def speed_table():
    ten = stored("ten_folds.json")
    return {
        "epoch of ten folds, training and validation": [
            [ten["ten_folds_epoch_seconds"]]
        ],
        "the same on 350 and on 175 of the images": [
            [ten["epoch_seconds_by_images"][n] for n in ("350", "175")]
        ],
        "floor: multiply-adds of the readouts at the rate of a 2048^3 product": [
            [ten["floor_seconds"]]
        ],
        "ratio": [[ten["epoch_over_floor"]]],
        "epoch of one fold alone": [[ten["solo_epoch_seconds"]]],
        "ten folds over ten solo epochs": [[ten["ten_folds_over_ten_solo_epochs"]]],
        "ten folds over ten solo runs of 5 epochs, with all set-up": [
            [ten["ten_folds_over_ten_solo_runs"]]
        ],
    }


def ablation_table():
    gain = {
        row["level"]: float(row["validation_information_gain"])
        for row in stored("ablation.csv")
    }
    words = {2: "two", 3: "three", 4: "four", 5: "five"}
    layers = {
        f"{word} layers": [[gain[f"{depth} layers of {n}"]] for n in (8, 16, 64)]
        for depth, word in words.items()
    }
    return {
        "linear (one layer)": [[], [gain["linear"]], []],
        **layers,
        "released (16, 32, 2, 1)": [[], [gain["released"]], []],
        "released, another seed": [[], [gain["other seed"]], []],
    }


def fine_tuning_table(key, names):
    columns = [run[key] for run in stored("osie_fine_tuning.json")["fine_tuning"]]
    return {
        printed: [[run[name]["mean"], *run[name]["interval"]] for run in columns]
        for printed, name in names.items()
    }


def fine_tuning_gains():
    return fine_tuning_table(
        "information_gain",
        {
            "from the start": "from the start",
            "pre-trained, as it is": "pre-trained, as it is",
            "fine-tuned, last layers (the default)": "fine-tuned, last layers",
            "fine-tuned, all layers": "fine-tuned, all",
        },
    )


def fine_tuning_differences():
    return fine_tuning_table(
        "more_than_from_the_start",
        {
            "pre-trained, as it is": "pre-trained, as it is",
            "fine-tuned, last layers": "fine-tuned, last layers",
            "fine-tuned, all layers": "fine-tuned, all",
        },
    )


def ms_an_image(*counts):
    seconds = stored("ten_folds.json")["epoch_seconds_by_images"]
    return [1000 * seconds[count] / int(count) for count in counts]


TABLES = {
    (
        README,
        "| model | LL | IG over center bias | 95 % interval | IG, per-fixation mean | "
        "IG minus next line's, paired |",
    ): results_table,
    (
        README,
        "| model | IG | IG explained | AUC | sAUC | NSS | CC | KLDiv | SIM |",
    ): metrics_table,
    (
        EXPERIMENTS,
        "| variant | validation IG | training IG | best epoch |",
    ): search_table,
    (
        EXPERIMENTS,
        "| bits per fixation, mean per image | LL | IG over center bias | "
        "95 % interval |",
    ): ceiling_table,
    (
        EXPERIMENTS,
        "| | epoch of ten folds, training and validation",
    ): speed_table,
    (
        EXPERIMENTS,
        "| validation IG, bit/fixation | 8 units | 16 units | 64 units |",
    ): ablation_table,
    (EXPERIMENTS, "| | 50 images | 350 images |"): fine_tuning_gains,
    (
        EXPERIMENTS,
        "| more than from the start | 50 images | 350 images |",
    ): fine_tuning_differences,
}

# Tables whose numbers are not measured: names of layers and files, sizes of downloads.
NOT_MEASURED = {
    (README, "| `--model` | sees | needs |"),
    (README, "| you see | it probably is | family | usable for a model of family O |"),
    (README, "| | log density"),
    (README, "| format | reads |"),
    (EXPERIMENTS, "| file | gives |"),
}


def card(name):
    from deepgaze_jax.model_files import load_model

    return load_model(name)[1]


def gains(stem):
    return {row["image"]: float(row["ig"]) for row in stored(f"osie_{stem}.csv")}


def compared_before():
    """Mean information gain of the images that took part in the search, and others."""
    folds = card("deepgaze2-osie")["folds"]
    seen = np.concatenate([folds[k]["validation"] for k in (0, 3, 6)])
    gain = np.array(list(gains("deepgaze2").values()))
    took_part = np.isin(np.arange(len(gain)), seen)
    return [
        took_part.sum(),
        len(gain),
        gain[took_part].mean(),
        (~took_part).sum(),
        gain[~took_part].mean(),
    ]


def search_difference(first, second):
    rows = {row["variant"]: row for row in stored("osie_search.csv")}
    key = "validation_information_gain"
    return float(rows[first][key]) - float(rows[second][key])


def span(key, unit=1.0):
    values = [
        unit * one[key] for one in stored("osie_gold_standard.json")["folds"].values()
    ]
    return [min(values), max(values)]


SENTENCES = [
    (
        README,
        r"OSIE \((\d+) photographs, (\d+) people, ([\d,]+) fixations;",
        lambda: [
            scores("deepgaze2")["n_images"],
            stored("osie_evaluation.json")["n_subjects"],
            scores("deepgaze2")["n_fixations"],
        ],
    ),
    (
        README,
        r"nothing; ([\d.]+) s where it sees (\d+)x(\d+) pixels",
        lambda: [
            stored("icf_speed.json")["predict_seconds"],
            *stored("icf_speed.json")["picture"],
        ],
    ),
    (
        EXPERIMENTS,
        r"mean of DeepGaze II over all ten validation parts is ([\d.]+)\.",
        lambda: [
            np.mean(card("deepgaze2-osie")["scores"]["validation_information_gain"])
        ],
    ),
    (
        EXPERIMENTS,
        r"score ([\d.]+) lower: a step hides half",
        lambda: [search_difference("deepgaze2", "deepgaze2-no-dropout")],
    ),
    (
        EXPERIMENTS,
        r"is worth ([\d.]+) over 3e-3\. Two seeds differ by ([\d.]+)\.",
        lambda: [
            search_difference("deepgaze2", "deepgaze2-rate-3e-3"),
            search_difference("deepgaze2", "deepgaze2-seed-1"),
        ],
    ),
    (
        EXPERIMENTS,
        r"loses by dropout and gains ([\d.]+) by the larger scale",
        lambda: [search_difference("deepgaze1", "deepgaze1-scale-1")],
    ),
    (
        EXPERIMENTS,
        r"folds 9, 2 and 5: (\d+) of the (\d+) images that are reported took part in "
        r"the comparison above\. Their mean information gain is ([\d.]+), that of the "
        r"other (\d+) is ([\d.]+)\.",
        compared_before,
    ),
    (
        EXPERIMENTS,
        r"one of the (\d+) images has a negative information gain \(`1150\.jpg`, "
        r"(-[\d.]+)\)",
        lambda: [
            scores("deepgaze2")["n_images"],
            # Exactly one is negative, and it is this one.
            *(ig for name, ig in gains("deepgaze2").items() if ig < 0),
        ],
    ),
    (
        EXPERIMENTS,
        r"Per fixation the gold standard has ([\d.]+)\.",
        lambda: [
            stored("osie_gold_standard.json")["ten_folds"]["gold_standard_ig"][
                "per_fixation"
            ]
        ],
    ),
    (
        EXPERIMENTS,
        r"a Gaussian of ([\d.]+) to ([\d.]+) px \(([\d.]+) degrees\), ([\d.]+) to "
        r"([\d.]+) % center bias, ([\d.]+) to ([\d.]+) % uniform",
        lambda: [
            *span("bandwidth_px"),
            np.mean(span("bandwidth_px")) / card("deepgaze2-osie")["pixels_per_dva"],
            *span("center_bias_weight", 100),
            *span("uniform_weight", 100),
        ],
    ),
    (
        EXPERIMENTS,
        r"its own center bias the gain is the same \(([\d.]+)\)\. The information gain "
        r"explained by `deepgaze2-osie` is ([\d.]+) / ([\d.]+) = (\d+) %",
        lambda: [
            stored("osie_gold_standard.json")["whole_data_set"]["gold_standard_ig"][
                "per_image"
            ],
            scores("deepgaze2")["per_image"]["ig"]["mean"],
            stored("osie_gold_standard.json")["ten_folds"]["gold_standard_ig"][
                "per_image"
            ],
            100 * evaluated("deepgaze2-osie")["per_image"]["ig_explained"]["mean"],
        ],
    ),
    (
        EXPERIMENTS,
        r"`benchmarks/auc_speed\.py` has them at (\d+) and (\d+) times the speed",
        lambda: [
            stored("auc_speed.json")["plain_over_auc"],
            stored("auc_speed.json")["plain_over_sauc"],
        ],
    ),
    (
        EXPERIMENTS,
        r"linear in the images \((\d+) to (\d+) ms each\).*?missed\*\*: ([\d.]+)\)",
        lambda: [
            *ms_an_image("700", "175"),
            stored("ten_folds.json")["ten_folds_over_ten_solo_runs"],
        ],
    ),
    (
        EXPERIMENTS,
        r"needs ([\d.]+) s for an image in training and ([\d.]+) s in validation: "
        r"([\d,]+) s for an epoch.*?Ours took ([\d.]+) s in the same run \(measured "
        r"whole, features cached\): \*\*(\d+) times\*\*",
        lambda: [
            stored("public_recipe.json")[name]
            for name in (
                "recipe_seconds_per_image_training",
                "recipe_seconds_per_image_validation",
                "recipe_epoch_seconds_scaled",
                "our_epoch_seconds",
                "recipe_over_ours",
            )
        ],
    ),
]

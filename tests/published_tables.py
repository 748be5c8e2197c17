"""What the tables of README.md and experiments/README.md state, from the results."""

from published import EXPERIMENTS, README, claims, evaluated, scores, stored
from published_speed import SPEED_TABLES
from published_study import STUDY_TABLES

#: Models, and what their scores are called.
STEMS = {
    "deepgaze2-osie": "deepgaze2",
    "deepgaze2-osie-paper": "deepgaze2_paper",
    "deepgaze1-osie": "deepgaze1",
    "icf-osie": "icf",
}


def pair(better, worse):
    """Difference in information gain between two models, with its interval."""
    pairs = stored("osie_evaluation.json")["pairs"]
    found = {(one["first"], one["second"]): one["per_image"]["ig"] for one in pairs}
    ig = found[worse, better]
    return [-ig["difference"], -ig["high"], -ig["low"]]


def results_table():
    models = {
        "DeepGaze II (`deepgaze2-osie`)": ("deepgaze2-osie", "deepgaze2-osie-paper"),
        "the paper's readout (`deepgaze2-osie-paper`)": (
            "deepgaze2-osie-paper",
            "deepgaze1-osie",
        ),
        "DeepGaze I (`deepgaze1-osie`)": ("deepgaze1-osie", "icf-osie"),
        "ICF (`icf-osie`)": ("icf-osie", "center-bias"),
    }
    rows = {}
    for title, (name, below) in models.items():
        stem = STEMS[name]
        means = scores(stem)["per_image"]
        ig = means["ig"]
        rows[title] = [
            [means["ll"]["mean"]],
            [ig["mean"]],
            [ig["low"], ig["high"]],
            [scores(stem)["per_fixation"]["ig"]["mean"]],
            pair(name, below),
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
        "DeepGaze II, the paper's readout": "deepgaze2-osie-paper",
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


def shares(one):
    return [100 * one[key] for key in ("mean", "low", "high")]


def claims_table():
    result = claims()
    explained = result["explained"]
    gaps = {(one["better"], one["worse"]): one for one in result["distances"]}
    two, one = gaps["deepgaze2", "deepgaze1"], gaps["deepgaze1", "icf"]
    n = scores("deepgaze2")["n_images"]
    icf = result["icf_beats_deepgaze2"]
    of = "information gain explained by "
    return {
        f"{of}DeepGaze II": [
            [100 * explained["deepgaze2"]["paper"]],
            shares(explained["deepgaze2"]["here"]),
        ],
        f"{of}DeepGaze I": [
            [100 * explained["deepgaze1"]["paper"]],
            shares(explained["deepgaze1"]["here"]),
        ],
        "distance of the two, points": [
            [100 * two["paper_share"]],
            shares(two["share"]),
        ],
        f"{of}ICF": [[], shares(explained["icf"]["here"])],
        "distance of DeepGaze I and ICF, points": [[], shares(one["share"])],
        "images with a negative gain under DeepGaze II": [
            [0, 463],
            [result["negative_information_gain"]["deepgaze2"]["n"], n],
        ],
        "images where ICF beats DeepGaze II": [
            [icf["paper"]["n"], icf["paper"]["of"]],
            [icf["n"], icf["of"]],
        ],
        "images where DeepGaze I beats DeepGaze II": [
            [],
            [result["deepgaze1_beats_deepgaze2"]["n"], n],
        ],
    }


def statistics_table():
    titles = {
        "gold_standard_ig": "gold standard's information gain",
        "entropy_of_fixations": "entropy of the fixations, bits",
        "auc_of_contrast": "AUC of local contrast for the fixations",
        "edges": "edges (mean gradient)",
        "contrast": "contrast",
        "n_fixations": "number of fixations",
        "luminance": "luminance",
        "colourfulness": "colourfulness",
        "center_bias_ll": "center bias's log-likelihood",
    }
    found = claims()["icf_beats_deepgaze2"]["statistics"]
    assert set(titles) == set(found)
    keys = ("median_of_these", "median_of_the_others", "p", "rank_correlation_with_gap")
    return {
        title: [[found[name][key]] for key in keys] for name, title in titles.items()
    }


def depth_table():
    return {
        row["level"]: [
            [float(row["validation_information_gain"])],
            [float(row["train_information_gain"])],
        ]
        for row in stored("ablation.csv")
        if row["factor"] == "depth_and_width"
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


def service_table():
    load = stored("serve_load.json")["load"]
    end = load["end"]
    return {
        "wrong statuses, wrong arrays, pictures with arrays": [
            [
                load["wrong_statuses"],
                load["wrong_arrays"],
                load["different_pictures_with_arrays"],
            ]
        ],
        "predictions": [
            [load["predictions_per_second"], load["seconds_of_predictions"]["p50"]]
        ],
        "turned away with 429": [[1000 * load["seconds_of_429"]["p50"]]],
        "memory, medians of the thirds": [load["resident_mb_of_thirds"]],
        "SIGTERM under load": [
            [
                int(end["lines"][0].rpartition(" ")[2]),
                end["answered_by_service"],
                end["received_by_clients"],
                end["exit_code"],
            ]
        ],
    }


def batch_table():
    found = {}
    for row in stored("serve_load.json")["batches"]:
        found.setdefault(row["model"], []).append([row["seconds_per_picture"]])
    return {"ICF": found["icf-osie"], "DeepGaze II": found["deepgaze2-osie"]}


def folder_table():
    rows = {}
    for title, model in (("ICF", "icf"), ("DeepGaze II", "deepgaze2")):
        one = stored("folder_speed.json")[model]
        (loop,), (ours,) = one["loop_seconds"], one["folder_seconds"]
        cells = [one["photographs"], loop, ours, one["loop_over_folder"]]
        rows[title] = [[cell] for cell in cells]
    return rows


def costs():
    """Measured figures of both models, photographs a second, and share of the time."""
    models = stored("stage_costs.json")["models"]
    return [models["icf"], models["deepgaze2"]], 1e9 / (30 * 24 * 3600), 0.8


def core_seconds(model, *steps):
    return sum(model["steps"][step]["core_seconds"] for step in steps)


def work_table():
    models, rate, busy = costs()
    density = [
        core_seconds(m, "read and decode", "network and density") for m in models
    ]
    overlay = [
        density[k] + core_seconds(m, "draw the overlay", "compress the overlay")
        for k, m in enumerate(models)
    ]

    def gigabits(kind):
        return [rate * model["bytes"][kind] * 8 / 1e9 for model in models]

    rows = {
        "core seconds a photograph: densities": density,
        "core seconds a photograph: overlay as well": overlay,
        "cores for densities": [rate * seconds / busy for seconds in density],
        "cores for densities and overlays": [rate * s / busy for s in overlay],
        "Gbit/s of photographs": gigabits("photograph"),
        "Gbit/s of densities, h5 and float16": gigabits("h5, float16"),
        "Gbit/s of densities, npy": gigabits("npy"),
    }
    return {title: [[value] for value in values] for title, values in rows.items()}


def terabytes_table():
    models, _, _ = costs()
    return {
        kind: [[model["bytes"][kind] / 1000] for model in models]
        for kind in models[0]["bytes"]
    }


TABLES = {
    **STUDY_TABLES,
    (
        EXPERIMENTS,
        "| `deepgaze predict` of a list | photographs | loop, s | `predict`, s | "
        "times as fast |",
    ): folder_table,
    (EXPERIMENTS, "| in all | ICF | DeepGaze II |"): work_table,
    (EXPERIMENTS, "| TB | ICF | DeepGaze II |"): terabytes_table,
    (EXPERIMENTS, "| claim | paper | here |"): claims_table,
    (
        EXPERIMENTS,
        "| statistic | the nine | the others | p | rank correlation with the gain |",
    ): statistics_table,
    (EXPERIMENTS, "| readout | validation IG | training IG |"): depth_table,
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
    **SPEED_TABLES,
    (
        EXPERIMENTS,
        "| | wrong statuses, wrong arrays, pictures with arrays",
    ): service_table,
    (EXPERIMENTS, "| pictures at once | 1 | 2 | 4 | 8 |"): batch_table,
}

# Tables whose numbers are not measured: names of layers and files, sizes of downloads.
NOT_MEASURED = {
    (README, "| `--model` | sees | needs |"),
    (README, "| you see | it probably is | family | usable for a model of family O |"),
    (README, "| | log density"),
    (README, "| format | reads |"),
    (EXPERIMENTS, "| file | gives |"),
    (EXPERIMENTS, "| figure of the paper | here |"),
}

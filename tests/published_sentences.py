"""What sentences of README.md and experiments/README.md state, from the results."""

import numpy as np
from published import EXPERIMENTS, README, claims, evaluated, scores, stored
from published_speed import SPEED_SENTENCES
from published_study import STUDY_SENTENCES


def card(name):
    from deepgaze_jax.model_files import load_model

    return load_model(name)[1]


def gains(stem):
    return {row["image"]: float(row["ig"]) for row in stored(f"osie_{stem}.csv")}


def compared_before():
    """Mean information gain of the images that took part in the search, and others."""
    folds = card("deepgaze2-osie-paper")["folds"]
    seen = np.concatenate([folds[k]["validation"] for k in (0, 3, 6)])
    gain = np.array(list(gains("deepgaze2_paper").values()))
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


def icf_leads():
    """The gains of ICF over DeepGaze II, the largest first."""
    return sorted(claims()["icf_beats_deepgaze2"]["images"].values(), reverse=True)


def validation_gain(name):
    return claims()["parts"]["validation_information_gain"][name]


def pretraining(n_images, how):
    one = claims()["parts"]["pretraining_gain"][n_images][how]
    return [one["mean"], *one["interval"]]


def ms_an_image(*counts):
    seconds = stored("ten_folds.json")["epoch_seconds_by_images"]
    return [1000 * seconds[count] / int(count) for count in counts]


SENTENCES = [
    *SPEED_SENTENCES,
    *STUDY_SENTENCES,
    (
        EXPERIMENTS,
        r"`1150\.jpg` ([\d.]+), `1269\.jpg` ([\d.]+), `1399\.jpg` ([\d.]+), "
        r"`1072\.jpg` ([\d.]+), `1030\.jpg` ([\d.]+), `1367\.jpg` ([\d.]+), "
        r"`1426\.jpg` ([\d.]+), `1638\.jpg` ([\d.]+), `1115\.jpg` ([\d.]+)\. That is "
        r"([\d.]+) % of the images, in the paper it was ([\d.]+) %",
        lambda: [
            *icf_leads(),
            100 * len(icf_leads()) / 700,
            100 * 94 / 1003,
        ],
    ),
    (
        EXPERIMENTS,
        r"DeepGaze I has (\d+), ICF (\d+), down to (-[\d.]+)\. The fixations of (\d+) "
        r"images are predicted better by DeepGaze II",
        lambda: [
            claims()["negative_information_gain"]["deepgaze1"]["n"],
            claims()["negative_information_gain"]["icf"]["n"],
            min(claims()["negative_information_gain"]["icf"]["images"].values()),
            claims()["deepgaze2_beats_the_gold_standard"],
        ],
    ),
    (
        EXPERIMENTS,
        r"here it is one image, `1150\.jpg` \((-[\d.]+):",
        lambda: [ig for ig in gains("deepgaze2_paper").values() if ig < 0],
    ),
    (
        EXPERIMENTS,
        r"DeepGaze II explains ([\d.]+) points less here than in the paper, DeepGaze I "
        r"([\d.]+) points more",
        lambda: [
            sign * 100 * (one["paper"] - one["here"]["mean"])
            for sign, name in ((1, "deepgaze2"), (-1, "deepgaze1"))
            for one in [claims()["explained"][name]]
        ],
    ),
    (
        EXPERIMENTS,
        r"p of nine comparisons, not corrected: ([\d.]+) becomes ([\d.]+)\)",
        lambda: [
            k * claims()["icf_beats_deepgaze2"]["statistics"]["gold_standard_ig"]["p"]
            for k in (1, len(claims()["icf_beats_deepgaze2"]["statistics"]))
        ],
    ),
    (
        EXPERIMENTS,
        r"\(Two seeds of the deep readout differ by ([\d.]+) on validation parts",
        lambda: [claims()["parts"]["seeds_differ_by"]],
    ),
    (
        EXPERIMENTS,
        r"intensity and contrast, with the deep readout: ([\d.]+) -> ([\d.]+) \(valid",
        lambda: [
            validation_gain("intensity and contrast, deep (ICF)"),
            validation_gain("VGG-19, deep"),
        ],
    ),
    (
        EXPERIMENTS,
        r"Pre-training on (\d+) other photographs of OSIE, instead of SALICON's "
        r"thousands: ([\d.]+) \(([\d.]+) to ([\d.]+)\) more with (\d+) own images, "
        r"([\d.]+) \(([\d.]+) to ([\d.]+)\) with (\d+)\.",
        lambda: [
            stored("osie_fine_tuning.json")["pretraining"]["n_images"],
            *pretraining("350", "fine-tuned, all"),
            350,
            *pretraining("50", "fine-tuned, last layers"),
            50,
        ],
    ),
    (
        EXPERIMENTS,
        r"the paper's shape \(16, 32, 2, 1; ([\d.]+)\) is no better",
        lambda: [validation_gain("VGG-19, deep")],
    ),
    (
        EXPERIMENTS,
        r'"4 layers of 64" collapsed \((\d+) alarms\)',
        lambda: [claims()["parts"]["depth_and_width"]["4 layers of 64"]["alarms"]],
    ),
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
            np.mean(
                card("deepgaze2-osie-paper")["scores"]["validation_information_gain"]
            )
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
            *(ig for name, ig in gains("deepgaze2_paper").items() if ig < 0),
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

"""The comparison with the papers, from the stored scores of each image."""

import csv
import importlib
import json
import shutil
import statistics

import pytest
from published import RESULTS, ROOT, stored


def rows(stem):
    with (RESULTS / f"osie_{stem}.csv").open(newline="", encoding="utf-8") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def gains(model):
    stem = {"deepgaze2": "deepgaze2_paper"}.get(model, model)
    return {image: float(row["ig"]) for image, row in rows(stem).items()}


def gold():
    return {
        image: float(row["gold_standard"]) - float(row["center_bias"])
        for image, row in rows("gold_standard").items()
    }


def test_claims_are_what_the_script_makes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments/osie"))
    claims = importlib.import_module("claims")
    for path in RESULTS.glob("*.[cj]s*"):
        shutil.copy(path, tmp_path)
    (tmp_path / "osie_claims.json").unlink()
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    claims.main()
    made = json.loads((tmp_path / "osie_claims.json").read_text(encoding="utf-8"))
    found = stored("osie_claims.json")
    assert flat(made) == pytest.approx(flat(found), rel=1e-9, abs=1e-9)
    for picture in ("explained", "icf"):
        name = f"osie_claims_{picture}.png"
        for folder in (tmp_path, RESULTS):
            assert 1000 < (folder / name).stat().st_size <= 100_000


def flat(value, name=""):
    """All numbers of a result, by where they are; texts as part of the name."""
    if isinstance(value, dict):
        pairs = [flat(one, f"{name}/{key}") for key, one in value.items()]
    elif isinstance(value, list):
        pairs = [flat(one, f"{name}/{k}") for k, one in enumerate(value)]
    else:
        number = isinstance(value, int | float)
        return {name: value} if number else {f"{name}={value}": 0}
    return {key: one for pair in pairs for key, one in pair.items()}


def test_shares_and_order():
    found, ceiling = stored("osie_claims.json"), statistics.fmean(gold().values())
    names = ("deepgaze2", "deepgaze1", "icf")
    for name in names:
        share = statistics.fmean(gains(name).values()) / ceiling
        here = found["explained"][name]["here"]
        assert here["mean"] == pytest.approx(share, rel=1e-9)
        assert here["low"] < share < here["high"]
    assert found["order"] == [*names, "center_bias"]
    for one in found["distances"]:
        assert one["bits"]["low"] > 0


def test_images_are_named():
    found = stored("osie_claims.json")
    for name in ("deepgaze2", "deepgaze1", "icf"):
        negative = {image: ig for image, ig in gains(name).items() if ig < 0}
        said = found["negative_information_gain"][name]
        assert said["images"] == pytest.approx(negative)
        assert said["n"] == len(negative)
    first = gains("deepgaze2")
    for other in ("icf", "deepgaze1"):
        ahead = {
            image: ig - first[image]
            for image, ig in gains(other).items()
            if ig > first[image]
        }
        said = found[f"{other}_beats_deepgaze2"]
        assert said["images"] == pytest.approx(ahead)
        assert (said["n"], said["of"]) == (len(ahead), 700)
        assert list(said["images"].values()) == sorted(said["images"].values())
    better = sum(ig > gold()[image] for image, ig in first.items())
    assert found["deepgaze2_beats_the_gold_standard"] == better


def test_medians_of_both_groups():
    found = stored("osie_claims.json")["icf_beats_deepgaze2"]
    table = rows("image_statistics")
    assert len(table) == 700
    for name in ("luminance", "entropy_of_fixations", "auc_of_contrast"):
        groups = {True: [], False: []}
        for image, row in table.items():
            groups[image in found["images"]].append(float(row[name]))
        said = found["statistics"][name]
        assert said["median_of_these"] == pytest.approx(statistics.median(groups[True]))
        assert said["median_of_the_others"] == pytest.approx(
            statistics.median(groups[False])
        )


def test_image_statistics_of_made_up_pictures(monkeypatch):
    import numpy as np

    monkeypatch.syspath_prepend(str(ROOT / "experiments/osie"))
    made = importlib.import_module("image_statistics")
    grey = np.full((60, 80, 3), 0.5)
    assert made.colourfulness(grey) == pytest.approx(0)
    red = grey * (1, 0, 0)
    # R - G = 0.5 and (R + G) / 2 - B = 0.25 everywhere.
    assert made.colourfulness(red) == pytest.approx(0.3 * np.hypot(0.5, 0.25))
    x, y = np.array([10.0, 60.0, 10.0, 60.0]), np.array([10.0, 10.0, 55.0, 55.0])
    assert made.entropy_bits(x, y, 60, 80) == pytest.approx(2)
    assert made.entropy_bits(x[[0, 0, 0]], y[[0, 0, 0]], 60, 80) == 0
    edge = np.repeat([[0.0, 1.0]], 80, axis=1).repeat(60, axis=0)
    contrast = made.local_contrast(edge)
    # At the edge half of the window is 0 and half 1; far from it nothing varies.
    assert contrast[30, 79] == pytest.approx(0.5, abs=0.01)
    assert contrast[30, 5] == pytest.approx(0, abs=1e-6)

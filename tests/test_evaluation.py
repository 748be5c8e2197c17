import csv
import json
import math

import numpy as np
import pytest

from deepgaze_jax.errors import InputError
from deepgaze_jax.evaluation import ImageScore, score_image, summarise, write_table
from deepgaze_jax.metrics import bootstrap_interval


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    rows = [
        ImageScore(
            f"{i}.jpg", int(rng.integers(1, 90)), *map(float, rng.normal(1, 1, 2))
        )
        for i in range(30)
    ]
    return [*rows[:10], ImageScore("empty, one.jpg", 0, None, None), *rows[10:]]


def test_score_of_an_image():
    log_density = np.log([[0.5, 0.25], [0.125, 0.125]])
    uniform = np.full((2, 2), -np.log(4))
    score = score_image("a.jpg", log_density, uniform, [0, 0.5, 1], [0, 0, 1])
    assert (score.image, score.n_fixations) == ("a.jpg", 3)
    assert score.ll == pytest.approx((1 + 1 - 1) / 3)
    assert score.ig == pytest.approx(score.ll)
    over_itself = score_image("a.jpg", log_density, log_density, [0, 1], [0, 1])
    assert over_itself.ig == 0
    assert score_image("b.jpg", uniform, uniform, [], []) == ImageScore(
        "b.jpg", 0, None, None
    )


def test_means_by_hand(scores):
    summary = summarise(scores, "center bias (fold)", seed=3)
    scored = [score for score in scores if score.n_fixations]
    n = sum(score.n_fixations for score in scored)
    assert summary["n_images"] == 30 and summary["n_fixations"] == n
    assert summary["n_images_without_fixations"] == 1
    assert summary["images_without_fixations"] == ["empty, one.jpg"]
    assert summary["ig_over"] == "center bias (fold)"
    assert summary["interval"]["seed"] == 3
    for measure in ("ll", "ig"):
        values = [getattr(score, measure) for score in scored]
        counts = [score.n_fixations for score in scored]
        per_image = summary["per_image"][measure]
        assert per_image["mean"] == pytest.approx(math.fsum(values) / 30)
        interval = bootstrap_interval(values, 0.95, 2000, 3)
        assert (per_image["low"], per_image["high"]) == interval
        per_fixation = summary["per_fixation"][measure]
        weighted = math.fsum(v * c for v, c in zip(values, counts, strict=True))
        assert per_fixation["mean"] == pytest.approx(weighted / n)
        for part in (per_image, per_fixation):
            assert part["low"] < part["mean"] < part["high"]


def test_summary_refuses(scores):
    with pytest.raises(InputError, match=r"none of the 1 images has fixations"):
        summarise([scores[10]], "uniform")
    with pytest.raises(InputError, match=r"none of the 0"):
        summarise([], "uniform")
    with pytest.raises(InputError, match=r"'3.jpg' is scored twice"):
        summarise([*scores, scores[3]], "uniform")
    with pytest.raises(InputError, match=r"'z.jpg' has ll = -inf; the density is 0"):
        summarise([*scores, ImageScore("z.jpg", 2, -math.inf, 1.0)], "uniform")
    with pytest.raises(InputError, match=r"has ig = nan"):
        summarise([*scores, ImageScore("z.jpg", 2, 1.0, math.nan)], "uniform")


def test_files_read_back_exactly(scores, tmp_path):
    table = tmp_path / "new folder" / "osie.csv"
    summary = summarise(scores, "center bias")
    beside = write_table(table, scores, summary | {"model": "größer"})
    assert beside == table.with_suffix(".json")
    assert json.loads(beside.read_text("utf-8")) == summary | {"model": "größer"}
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "n_fixations", "ll", "ig"]
    back = [
        ImageScore(
            row["image"],
            int(row["n_fixations"]),
            float(row["ll"]) if row["ll"] else None,
            float(row["ig"]) if row["ig"] else None,
        )
        for row in rows
    ]
    assert back == scores
    assert "nan" not in table.read_text().lower()
    assert sorted(p.name for p in table.parent.iterdir()) == ["osie.csv", "osie.json"]


def test_a_failed_write_leaves_the_old_file(scores, tmp_path, monkeypatch):
    table = tmp_path / "t.csv"
    table.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_table(table, scores, {})
    assert table.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_table_refuses(scores, tmp_path):
    with pytest.raises(InputError, match=r"end in .csv"):
        write_table(tmp_path / "t.parquet", scores, {})
    for summary in ({"mean": math.nan}, {"mean": np.float32(1)}):
        with pytest.raises(InputError, match="JSON"):
            write_table(tmp_path / "t.csv", scores, summary)
    assert not list(tmp_path.iterdir())

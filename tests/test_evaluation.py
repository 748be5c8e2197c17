"""Means of scores by hand, and the files that they are written to."""

import csv
import json
import math

import numpy as np
import pytest

from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.evaluation import ImageRow, ModelScores, Report, write_report
from deepgaze_jax.evaluation.aggregate import summary_of_scores
from deepgaze_jax.evaluation.results import read_finished
from deepgaze_jax.metrics import bootstrap_interval


def row(image, n_fixations, ll, ig):
    return ImageRow(image, n_fixations, {"ll": ll, "ig": ig})


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    rows = [
        row(f"{i}.jpg", int(rng.integers(1, 90)), *map(float, rng.normal(1, 1, 2)))
        for i in range(30)
    ]
    return [*rows[:10], row("empty, one.jpg", 0, None, None), *rows[10:]]


def summarise(rows, baseline, seed=0):
    return summary_of_scores(
        [row.image for row in rows],
        [row.n_fixations for row in rows],
        {name: [row.scores[name] for row in rows] for name in ("ll", "ig")},
        baseline,
        seed,
    )


def a_report(rows, **extra):
    scores = ModelScores("größer", tuple(rows), (), {"0": 30}, {"kind": "k"}, "key")
    origin = {
        "model": {"kind": "k", "label": "größer", "key": "key"},
        "scored_by_fold": {"0": 30},
        "scored_by_mixture": 0,
        "scored_without_fold": 0,
        "images_refused": [],
        "ig_over": "center bias",
    }
    return Report((scores,), {"größer": origin | extra}, {"data": "d"}, [])


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
        values = [score.scores[measure] for score in scored]
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
        summarise([*scores, row("z.jpg", 2, -math.inf, 1.0)], "uniform")
    with pytest.raises(InputError, match=r"has ig = nan"):
        summarise([*scores, row("z.jpg", 2, 1.0, math.nan)], "uniform")


def test_files_read_back_exactly(scores, tmp_path):
    table = tmp_path / "new folder" / "osie.csv"
    result = a_report(scores)
    beside = write_report(table, result)
    assert beside == table.with_suffix(".json")
    written = json.loads(beside.read_text("utf-8"))
    assert len(written.pop("table_sha256")) == 64
    assert written == result.as_json()
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "model", "n_fixations", "ll", "ig"]
    assert {one["model"] for one in rows} == {"größer"}
    back = [
        row(
            one["image"],
            int(one["n_fixations"]),
            *(float(one[k]) if one[k] else None for k in ("ll", "ig")),
        )
        for one in rows
    ]
    assert back == scores
    assert "nan" not in table.read_text().lower()
    assert sorted(p.name for p in table.parent.iterdir()) == ["osie.csv", "osie.json"]
    known = read_finished(table)["key"]
    assert vars(known) == vars(result.models[0])


def test_tables_of_one_stem_keep_a_json_each(scores, tmp_path):
    pytest.importorskip("pyarrow")
    names = {"t.csv": "t.json", "t.parquet": "t.parquet.json", "t.CSV": "t.CSV.json"}
    for n, (name, beside) in enumerate(names.items()):
        result = a_report(scores, n=n)
        assert write_report(tmp_path / name, result) == tmp_path / beside
    for n, (name, beside) in enumerate(names.items()):
        assert json.loads((tmp_path / beside).read_text())["n"] == n
        assert read_finished(tmp_path / name)["key"].rows == tuple(scores)


def test_a_failed_write_leaves_the_old_file(scores, tmp_path, monkeypatch):
    table = tmp_path / "t.csv"
    table.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_report(table, a_report(scores))
    assert table.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_table_refuses(scores, tmp_path):
    with pytest.raises(ConfigError, match=r"end in .csv or .parquet"):
        write_report(tmp_path / "t.txt", a_report(scores))
    for mean in (math.nan, np.float32(1)):
        with pytest.raises(InputError, match="JSON"):
            write_report(tmp_path / "t.csv", a_report(scores, mean=mean))
    assert not list(tmp_path.iterdir())

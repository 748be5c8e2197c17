"""Evaluation of several models, against slow implementations and by hand."""

import csv
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import oracles
import oracles_metrics
import pytest
import small_models
import tiny
from PIL import Image

from deepgaze_jax.cli import main
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import ConfigError, DataError, InputError
from deepgaze_jax.evaluation.aggregate import (
    add_explained,
    pairs_of_models,
    summary_of_scores,
)
from deepgaze_jax.evaluation.baselines import (
    CenterBiasSource,
    CrossFit,
    GoldStandardSource,
    UniformSource,
)
from deepgaze_jax.evaluation.comparison import (
    ImageRow,
    ModelScores,
    ScoreSettings,
    score_model,
)
from deepgaze_jax.evaluation.model_source import ModelSource
from deepgaze_jax.evaluation.predictions import Part, Prediction
from deepgaze_jax.evaluation.scoring import METRICS
from deepgaze_jax.metric_maps import sim_map
from deepgaze_jax.metrics import (
    bootstrap_interval,
    information_gain_explained_interval,
)

BLUR = 3.0


@pytest.fixture(autouse=True)
def surroundings(small_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(small_cache))
    name = "deepgaze_jax.cli.evaluate.keep_compiled_programs"
    monkeypatch.setattr(name, lambda: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven pictures of one size, the fourth without fixations."""
    root = tmp_path_factory.mktemp("data") / "seven"
    return tiny.write_folder(root, [(30, 40)] * 7, 3, without=(3,))


@pytest.fixture(scope="module")
def dataset(folder):
    return read_folder(folder)


class Spot:
    """A density around a spot that differs from image to image."""

    name = "spot"

    def __init__(self, is_costly=False, refused=(), stop_at=None):
        self.is_costly, self.refused, self.stop_at = is_costly, refused, stop_at
        self.asked = []

    def identity(self):
        return {"kind": "spot"}

    def card(self):
        return self.identity()

    def log_density(self, index):
        y, x = np.mgrid[:30, :40]
        spot = np.exp(-((y - 8 - 2 * index) ** 2 + (x - 20) ** 2) / 200)
        return oracles.log_normalise(np.log(spot + 0.02))

    def predict(self, index):
        if index == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(index)
        if index in self.refused:
            return None
        return Prediction((Part(self.log_density(index)),), index % 2)


def by_hand(log_densities, dataset, index):
    """Every metric of one image, slowly."""
    fixations = dataset.fixations
    points = [
        (int(image), float(x), float(y))
        for image, x, y in zip(fixations.image, fixations.x, fixations.y, strict=True)
    ]
    x = [px for image, px, _ in points if image == index]
    y = [py for image, _, py in points if image == index]
    log_density = log_densities[index]
    density = np.exp(log_density)
    at = np.array([log_density[int(b), int(a)] for a, b in zip(x, y, strict=True)])
    rest = [np.exp(one) for k, one in log_densities.items() if k != index]
    relative = log_density - np.log(np.mean(rest, axis=0))
    empirical = oracles_metrics.empirical_density(x, y, 30, 40, BLUR)
    blurred = oracles_metrics.blurred_with_zeros(density, BLUR)
    return {
        "ll": at.mean() / np.log(2) + np.log2(1200),
        "auc": np.mean(oracles_metrics.auc(density, x, y)),
        "sauc": np.mean(
            oracles_metrics.sauc(relative, x, y, points, dataset.image_sizes, index)
        ),
        "nss": np.mean(oracles_metrics.nss(density, x, y)),
        "cc": oracles_metrics.cc(blurred, empirical),
        "kldiv": oracles_metrics.kldiv(blurred, empirical),
        "sim": oracles_metrics.sim(sim_map(log_density, BLUR, len(x)), empirical),
    }


def test_every_metric_of_every_image(dataset):
    source = Spot(refused=(5,))
    settings = ScoreSettings(blur_px=BLUR)
    scores = score_model(source, dataset, settings, baseline=UniformSource(dataset))
    assert [row.image for row in scores.rows] == [
        name for k, name in enumerate(dataset.image_names) if k != 5
    ]
    assert scores.refused == (dataset.image_names[5],)
    assert scores.scored_by == {"0": 4, "1": 1}
    log_densities = {k: source.log_density(k) for k in (0, 1, 2, 4, 6)}
    for k, row in zip((0, 1, 2, 3, 4, 6), scores.rows, strict=True):
        assert list(row.scores) == list(METRICS)
        if k == 3:
            assert row.n_fixations == 0 and set(row.scores.values()) == {None}
            continue
        assert row.n_fixations == (dataset.fixations.image == k).sum()
        assert row.scores["ig"] == pytest.approx(row.scores["ll"], abs=1e-6)
        for metric, value in by_hand(log_densities, dataset, k).items():
            assert row.scores[metric] == pytest.approx(value, abs=1e-9), metric


def test_a_model_that_says_the_same_of_all_images_has_no_shuffled_auc(dataset):
    settings = ScoreSettings(("ig", "sauc"))
    bias = CenterBiasSource(CrossFit(dataset))
    for source in (UniformSource(dataset), bias):
        scores = score_model(source, dataset, settings, baseline=bias)
        for row in scores.rows:
            assert row.n_fixations == 0 or row.scores["sauc"] == 0.5
    assert all(row.scores["ig"] in (0, None) for row in scores.rows)


def test_gold_standard_predicts_each_person_from_the_others(dataset):
    cross_fit = CrossFit(dataset)
    gold = score_model(
        GoldStandardSource(cross_fit),
        dataset,
        ScoreSettings(("ll", "nss", "cc", "sauc")),
    )
    joint = score_model(
        GoldStandardSource(cross_fit, joint=True), dataset, ScoreSettings(("ll", "cc"))
    )
    for index, row in enumerate(gold.rows):
        if not row.n_fixations:
            continue
        assert row.scores["cc"] is None
        assert 0 <= row.scores["sauc"] <= 1
        fold = cross_fit.fold_of[index]
        assert index not in cross_fit.folds[fold].train
        parameters = cross_fit.gold_standards[fold]
        points = dataset.fixations.of_images(index)
        bias = np.exp(cross_fit.center_bias(index).astype(np.float64))
        ll, nss = [], []
        for k in range(len(points)):
            others = points.subject != points.subject[k]
            density = oracles_metrics.gold_standard_density(
                list(zip(points.x[others], points.y[others], strict=True)),
                *(30, 40),
                parameters.bandwidth_px,
                bias / bias.sum(),
                parameters.kde_weight,
                parameters.center_bias_weight,
            )
            at = (int(points.y[k]), int(points.x[k]))
            ll.append(np.log2(density[at] * density.size))
            nss.append((density[at] - density.mean()) / density.std())
        assert row.scores["ll"] == pytest.approx(np.mean(ll), abs=1e-6)
        assert row.scores["nss"] == pytest.approx(np.mean(nss), abs=1e-6)
        assert joint.rows[index].scores["ll"] > row.scores["ll"]
        assert joint.rows[index].scores["cc"] is not None


def test_folds_are_those_that_an_image_is_tested_by(dataset):
    cross_fit = CrossFit(dataset)
    for index, number in enumerate(cross_fit.fold_of):
        assert index in cross_fit.folds[number].test
        assert index not in cross_fit.folds[number].validation


def test_shuffled_auc_where_each_person_has_a_density(dataset):
    """What the other images' predictions are is the mean over their people."""

    class TwoPeople(Spot):
        def predict(self, index):
            subject = dataset.fixations.of_images(index).subject
            of_first = subject == subject.min()
            own = self.log_density(index), self.log_density(index)[:, ::-1]
            own = own[0], oracles.log_normalise(own[1] * (0.3 + 0.2 * index))
            return Prediction((Part(own[0], of_first), Part(own[1], ~of_first)))

    settings = ScoreSettings(("sauc",))
    scores = score_model(TwoPeople(), dataset, settings)
    looked_at = np.unique(dataset.fixations.image)
    parts = {k: TwoPeople().predict(k).parts for k in looked_at}
    means = {
        k: np.mean([np.exp(part.log_density) for part in parts[k]], axis=0)
        for k in looked_at
    }
    fixations = dataset.fixations
    points = list(zip(fixations.image, fixations.x, fixations.y, strict=True))
    for k in looked_at:
        rest = np.mean([means[j] for j in looked_at if j != k], axis=0)
        own, values = fixations.of_images(k), []
        for part in parts[k]:
            relative = part.log_density - np.log(rest)
            x, y = own.x[part.fixations], own.y[part.fixations]
            values += list(
                oracles_metrics.sauc(relative, x, y, points, dataset.image_sizes, k)
            )
        assert scores.rows[k].scores["sauc"] == pytest.approx(np.mean(values))


def test_blur_in_degrees_is_each_images_own(dataset):
    scales = np.linspace(20, 50, len(dataset))
    stated = dataclasses.replace(dataset, pixels_per_dva=scales)
    settings = ScoreSettings(blur_px=None, blur_dva=0.5)
    for index in range(len(dataset)):
        assert settings.sigma_px(stated, index) == pytest.approx(0.5 * scales[index])


def test_what_is_fitted_does_not_know_the_image(dataset):
    fixations = dataset.fixations
    own = fixations.image == 2
    x, y = np.where(own, 1.5, fixations.x), np.where(own, 28.5, fixations.y)
    moved = dataclasses.replace(
        dataset, fixations=dataclasses.replace(fixations, x=x, y=y)
    )
    before, after = CrossFit(dataset), CrossFit(moved)
    np.testing.assert_array_equal(before.center_bias(2), after.center_bias(2))
    fold = before.fold_of[2]
    assert before.gold_standards[fold] == after.gold_standards[fold]
    others = [k for k in range(len(before.folds)) if 2 in before.folds[k].train]
    assert all(before.gold_standards[k] != after.gold_standards[k] for k in others)
    image = before.folds[others[0]].test[0]
    assert (before.center_bias(image) != after.center_bias(image)).any()


@pytest.mark.parametrize("is_costly", [False, True])
def test_an_interrupted_evaluation_goes_on(dataset, is_costly, tmp_path):
    settings = ScoreSettings(blur_px=BLUR)
    uniform = UniformSource(dataset)
    expected = score_model(Spot(), dataset, settings, baseline=uniform)
    work = tmp_path / "work"
    source = Spot(is_costly, stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        score_model(source, dataset, settings, baseline=uniform, work=work)
    assert source.asked == [0, 1, 2]
    (journal,) = work.glob("*.jsonl")
    journal.write_text(journal.read_text() + '{"image": "06.png", "ll"')
    source = Spot(is_costly)
    scores = score_model(source, dataset, settings, baseline=uniform, work=work)
    assert scores.rows == expected.rows and scores.key == expected.key
    if is_costly:
        assert source.asked == [4, 5, 6]
    # Nothing is left to do.
    source = Spot(is_costly)
    again = score_model(source, dataset, settings, baseline=uniform, work=work)
    assert again.rows == expected.rows and source.asked == []
    # Other settings are another evaluation.
    other = ScoreSettings(blur_px=2 * BLUR)
    score_model(source, dataset, other, baseline=uniform, work=work)
    assert source.asked


def test_refusals(dataset):
    uniform = UniformSource(dataset)
    with pytest.raises(DataError, match=r"trained on all images of seven.*00\.png"):
        score_model(Spot(refused=range(7)), dataset, baseline=uniform)
    with pytest.raises(InputError, match="no center bias of its own"):
        score_model(Spot(), dataset)
    with pytest.raises(ConfigError, match=r"no metric 'pauc'; there are ll, ig"):
        ScoreSettings(("pauc",))
    with pytest.raises(ConfigError, match="blur is 0"):
        ScoreSettings(blur_px=0)
    with pytest.raises(DataError, match="does not state pixels_per_dva"):
        settings = ScoreSettings(("cc",), blur_px=None, blur_dva=1.0)
        score_model(Spot(), dataset, settings)

    class Wrong(Spot):
        def log_density(self, index):
            return super().log_density(index).T

    with pytest.raises(InputError, match=r"has 40 x 30 pixels .*the image 30 x 40"):
        score_model(Wrong(), dataset, baseline=uniform)

    class Zero(Spot):
        def log_density(self, index):
            values = np.full((30, 40), -np.inf)
            values[0, 0] = 0
            return values

    with pytest.raises(InputError, match=r"ll = -inf; the density is 0"):
        score_model(Zero(), dataset, ScoreSettings(("ll",)))


def scores_of(name, values):
    """A model with information gains on images 0, 1, ...; None is left out."""
    rows = [
        ImageRow(f"{k}.png", k + 1, {"ig": value})
        for k, value in enumerate(values)
        if value is not None
    ]
    return ModelScores(name, tuple(rows), (), {"": len(rows)}, {"kind": "x"}, "")


def test_shares_and_differences_are_over_common_images():
    gold = scores_of("gold", [2.0, 4.0, 3.0, None])
    model = scores_of("model", [None, 1.0, 2.0, 9.0])
    summary = {"per_image": {}, "per_fixation": {}}
    add_explained(summary, model, gold)
    assert summary["per_image"]["ig_explained"]["mean"] == pytest.approx(3 / 7)
    weighted = (2 * 1 + 3 * 2) / (2 * 4 + 3 * 3)
    assert summary["per_fixation"]["ig_explained"]["mean"] == pytest.approx(weighted)
    (pair,) = pairs_of_models([gold, model])
    assert (pair["first"], pair["second"], pair["n_images"]) == ("gold", "model", 2)
    assert pair["per_image"]["ig"] == {"difference": 2.0, "low": 1.0, "high": 3.0}
    assert pair["per_fixation"]["ig"]["difference"] == pytest.approx(9 / 5)


def test_intervals_have_the_weights_of_their_means():
    rng = np.random.default_rng(0)
    a, b = rng.normal(2, 1, 20), rng.normal(1, 0.5, 20)
    counts = np.arange(20) + 1
    first, second = scores_of("first", a), scores_of("second", b)
    (pair,) = pairs_of_models([first, second])
    summary = summary_of_scores(
        [row.image for row in first.rows], counts, {"ig": a}, "uniform"
    )
    add_explained(summary, second, first)
    for averaging, weights in (("per_image", None), ("per_fixation", counts)):
        found = summary[averaging]["ig"]
        expected = bootstrap_interval(a, 0.95, 2000, 0, weights)
        assert (found["low"], found["high"]) == expected
        found = pair[averaging]["ig"]
        expected = bootstrap_interval(a - b, 0.95, 2000, 0, weights)
        assert (found["low"], found["high"]) == expected
        found = summary[averaging]["ig_explained"]
        expected = information_gain_explained_interval(b, a, 0.95, 2000, 0, weights)
        assert (found["low"], found["high"]) == expected


# --- the command ------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(small_folds, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    return str(small_models.write_model(path, small_folds))


def write_maps(dataset):
    """Densities and saliency maps that know a little about the bright spots."""
    Path("densities").mkdir()
    Path("maps").mkdir()
    for index, name in enumerate(dataset.image_names):
        grey = dataset.image(index).mean(axis=-1)
        Image.fromarray(grey.astype(np.uint8)).save(Path("maps", name))
        log_density = oracles.log_normalise(grey / 80).astype(np.float32)
        np.save(f"densities/{Path(name).stem}_log_density.npy", log_density)


def table_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_any_set_of_models(folder, dataset, model, capsys, monkeypatch):
    write_maps(dataset)
    argv = ["evaluate", "--data", str(folder), "--blur-px", str(BLUR)]
    argv += ["--model", f"ours={model}", "center-bias", "gold-standard"]
    argv += ["grey=densities", "maps", "-o", "out/t.csv"]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    names = ["ours", "center-bias", "gold-standard", "grey", "maps"]
    rows = table_of("out/t.csv")
    assert list(rows[0]) == ["image", "model", "n_fixations", *METRICS]
    assert [row["model"] for row in rows] == [n for n in names for _ in range(7)]
    summary = json.loads(Path("out/t.json").read_text())
    assert list(summary["models"]) == names
    assert len(summary["pairs"]) == 10 and summary["data"] == "seven"
    assert "cross-fitted" in summary["ig_over"]
    assert summary["blur_of_empirical_map"] == {"px": BLUR}
    assert list(summary["maps"]) == list(METRICS)

    scored = {
        name: [row for row in rows if row["model"] == name and row["ll"]]
        for name in names
    }
    for name, own in scored.items():
        one = summary["models"][name]
        assert one["n_images"] == len(own) == 6
        for metric in METRICS:
            if name == "gold-standard" and metric in ("cc", "kldiv", "sim"):
                assert {row[metric] for row in own} == {""}
                assert metric not in one["per_image"]
                continue
            values = np.array([float(row[metric]) for row in own])
            counts = np.array([int(row["n_fixations"]) for row in own])
            mean = one["per_image"][metric]["mean"]
            assert mean == pytest.approx(values.mean())
            mean = one["per_fixation"][metric]["mean"]
            assert mean == pytest.approx((values * counts).sum() / counts.sum())
        # Six images with a handful of fixations have nothing that is explainable.
        assert "unless it is better" in one["ig_explained_left_out"]
        assert name in printed
    pair = summary["pairs"][3]
    assert (pair["first"], pair["second"], pair["n_images"]) == ("ours", "maps", 6)
    a, b = (
        np.array([float(row["nss"]) for row in scored[n]]) for n in ("ours", "maps")
    )
    difference = pair["per_image"]["nss"]
    assert difference["difference"] == pytest.approx((a - b).mean())
    assert difference["low"] <= difference["difference"] <= difference["high"]
    # The folder of log densities is scored as it is.
    log_densities = {
        k: np.load(f"densities/{k:02}_log_density.npy") for k in (0, 1, 2, 4, 5, 6)
    }
    expected = by_hand(log_densities, dataset, 2)
    for metric, value in expected.items():
        assert float(scored["grey"][2][metric]) == pytest.approx(value, abs=1e-6)
    assert summary["models"]["grey"]["model"]["trained_on_these_images"] == "unknown"
    assert not Path("out/t.csv.parts").exists()

    # Adding a model scores that model alone; nothing of the others changes.
    def nothing(*arguments, **options):
        raise AssertionError("is scored again")

    for source in ("model_source.ModelSource", "map_folders.SaliencyMapFolder"):
        monkeypatch.setattr(f"deepgaze_jax.evaluation.{source}.predict", nothing)
    assert main([*argv, "--model", *argv[5:-2], "uniform"]) == 0
    more = table_of("out/t.csv")
    assert more[: len(rows)] == rows and more[-1]["model"] == "uniform"
    again = json.loads(Path("out/t.json").read_text())
    assert again["models"]["maps"] == summary["models"]["maps"]

    # A table that the JSON beside it is not about counts for nothing.
    table = Path("out/t.csv")
    table.write_text(table.read_text().replace("grey,", "gray,"))
    with pytest.raises(AssertionError, match="is scored again"):
        main(argv)


def test_one_model_and_parquet(folder, model, capsys):
    pytest.importorskip("pyarrow")
    argv = ["evaluate", "--data", str(folder), "--model", model, "-o"]
    argv_of_few = ["--metrics", "ll", "auc"]
    assert main([*argv, "t.csv", *argv_of_few]) == 0
    assert main([*argv, "t.parquet", *argv_of_few]) == 0
    import pyarrow.parquet

    table = pyarrow.parquet.read_table("t.parquet")
    assert table.column_names == ["image", "model", "n_fixations", "ll", "auc"]
    rows = table.to_pylist()
    for row, text in zip(rows, table_of("t.csv"), strict=True):
        assert {k: "" if v is None else str(v) for k, v in row.items()} == text
    assert rows[3]["ll"] is None
    summary = json.loads(Path("t.json").read_text())
    assert summary["model"]["label"] == "small.safetensors"
    other = json.loads(Path("t.parquet.json").read_text())
    del summary["table_sha256"], other["table_sha256"]
    assert summary == other
    assert set(summary["per_image"]) == {"ll", "auc"}


def test_parts_of_another_interrupted_evaluation_stay(folder, model, capsys):
    """The table is the same, the command is not: only its own parts go."""
    argv = ["evaluate", "--data", str(folder), "-o", "t.csv", "--model", model]
    work = Path("t.csv.parts")
    for metrics in (("ll", "sauc"), ("ll",)):
        asked = []

        def stop(self, index, asked=asked, predict=ModelSource.predict):
            asked.append(index)
            if len(asked) == 3:
                raise KeyboardInterrupt
            return predict(self, index)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ModelSource, "predict", stop)
            assert main([*argv, "--metrics", *metrics]) == 130
    before = {path.name for path in work.iterdir()}
    assert len(before) == 3  # Two journals, and the predictions that sauc needs.
    assert main([*argv, "--metrics", "ll"]) == 0
    assert "keeps what is ready of another evaluation" in capsys.readouterr().err
    left = {path.name for path in work.iterdir()}
    assert len(left) == 2 and left < before
    assert main([*argv, "--metrics", "ll", "sauc"]) == 0
    assert not work.exists()


def test_parquet_without_pyarrow(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    argv = ["evaluate", "--data", str(folder), "--model", "uniform", "-o"]
    assert main([*argv, "t.parquet"]) == 2
    err = capsys.readouterr().err
    assert "pip install 'deepgaze-jax[parquet]'" in err and "|" not in err
    assert not list(Path().iterdir())


def test_wrong_use_of_the_command(folder, dataset, model, capsys):
    write_maps(dataset)
    argv = ["evaluate", "--data", str(folder), "-o", "t.csv", "--model"]
    for code, words, message in (
        (2, ["maps", "maps"], "two models are called 'maps'"),
        (2, ["maps", "--baseline", "own"], "no center bias of its own"),
        (2, ["maps", "--baseline", "joint"], "no baseline of an information gain"),
        (2, ["nothing"], "no such model"),
        (2, ["maps", "--blur-px", "2", "--blur-dva", "1"], "either in pixels or"),
        (2, [model, "--metrics", "emd"], "no metric 'emd'"),
        (2, ["people=joint"], "baselines keep their names"),
        (2, ["joint=maps"], "baselines keep their names"),
        (2, ["maps", "-o", "t.txt"], "CSV or Parquet"),
        (1, ["maps", "--blur-dva", "1"], "does not state pixels_per_dva"),
    ):
        assert main([*argv, *words]) == code
        assert message in capsys.readouterr().err
    for words, message in (
        (["--blur-px", "1e9"], "expected a positive number of pixels, at most 100000"),
        (["--seed", "-1"], "seed is -1; expected 0 or more"),
    ):
        assert main([*argv, model, *words]) in (1, 2)
        assert message in capsys.readouterr().err
    # The JSON's name is not typed: what is there already may be anything.
    Path("t.json").write_text('{"mine": 1}')
    assert main([*argv, "maps"]) == 2
    assert "t.json: is no JSON of an evaluation" in capsys.readouterr().err
    Path("t.json").unlink()
    tiny.write_folder(Path("two"), [(30, 40)] * 2, 3)
    assert main(["evaluate", "--data", "two", "-o", "t.csv", "--model", model]) == 0
    Path("t.csv").unlink()
    assert main(["evaluate", "--data", "two", "-o", "t.csv", "--model", "joint"]) == 1
    assert "cross-validation needs at least 3" in capsys.readouterr().err
    Path("densities/02_log_density.npy").unlink()
    assert main([*argv, "densities"]) == 1
    assert "1 of 7 images have no .npy file, first 02.png" in capsys.readouterr().err
    assert not Path("t.csv").exists()

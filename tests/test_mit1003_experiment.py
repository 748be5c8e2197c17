"""SALICON, MIT1003 and MIT300 from files in the original formats, end to end."""

import importlib
import json

import h5py
import numpy as np
import pytest
import writers_gaze
from published import ROOT
from scipy.special import logsumexp

from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.model_files import load_model

FOLDER = str(ROOT / "experiments/mit1003")


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("run")


@pytest.fixture
def estimate(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("estimate")


def test_dry_run_runs_nothing(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run.main(["--dry-run"]) == 0
    printed = capsys.readouterr().out
    commands = [x for x in printed.splitlines() if x.startswith("deepgaze ")]
    verbs = [command.split()[1] for command in commands]
    expected = ["data", "data", "train", "train", "evaluate", "export"]
    assert verbs == [*expected, "benchmark-file"]
    for words in ("this machine (2 cores)", "one H100 (assumed)", " GB  together"):
        assert words in printed
    assert list(tmp_path.iterdir()) == []


def test_estimate_counts_what_pytorch_s_layers_do(estimate):
    """VGG-19 on 224x224: 19.5e9 multiply-adds of convolutions, as is published."""
    assert estimate.vgg_multiply_adds(224, 224) == pytest.approx(19.5e9, rel=0.01)


def test_estimate_of_features_is_that_of_the_cache(estimate, tmp_path):
    from deepgaze_jax.architectures import deepgaze2
    from deepgaze_jax.datasets.features import plan_cache

    for name in ("salicon", "mit1003"):
        part = estimate.PARTS[name]
        images = tmp_path / name / "images"
        images.mkdir(parents=True)
        picture = writers_gaze.picture(part.width, part.height, "JPEG")
        (images / "a.jpg").write_bytes(picture)
        rows = "image,subject,fixation_index,x,y\na.jpg,0,0,1,1\n"
        (tmp_path / name / "fixations.csv").write_text(rows)
        dataset = read_folder(tmp_path / name)
        plan = plan_cache(dataset, deepgaze2(), "0", tmp_path, np.ones(1))
        assert estimate.Plan(deepgaze2()).feature_bytes(part) == plan.n_bytes


def test_estimate_gives_back_what_was_measured(estimate, monkeypatch):
    """Of OSIE in the place of both sets, the stored times come out again."""
    from deepgaze_jax.architectures import deepgaze2

    osie = estimate.Part(700, 600, 800, 100)
    monkeypatch.setattr(
        estimate, "PARTS", dict.fromkeys(("salicon", "mit1003", "mit300"), osie)
    )
    plan = estimate.Plan(
        deepgaze2(), input_scale=35 / 24, pretraining_epochs=1, epochs=1
    )
    seconds = estimate.seconds(plan, estimate.this_machine())
    ten = json.loads((estimate.RESULTS / "ten_folds.json").read_text())
    assert seconds["features of MIT1003"] == pytest.approx(20 * 60, rel=0.02)
    # The rate is of training with validation included; the estimate adds validation.
    assert seconds["fine-tuning"] == pytest.approx(
        ten["ten_folds_epoch_seconds"], rel=0.1
    )


def test_missing_downloads_are_named(run, tmp_path, capsys):
    assert run.main(["--salicon", str(tmp_path / "none"), "--work", str(tmp_path)]) == 2
    assert "no such folder" in capsys.readouterr().out


def test_summary_is_of_the_images_of_the_paper(run, tmp_path):
    data = tmp_path / "data/mit1003"
    (data / "images").mkdir(parents=True)
    sizes = {"a.png": (1024, 768), "b.png": (768, 1024), "c.png": (1024, 768)}
    for name, size in sizes.items():
        (data / "images" / name).write_bytes(writers_gaze.picture(*size))
    rows = ["image,subject,fixation_index,x,y", *(f"{name},0,0,1,1" for name in sizes)]
    (data / "fixations.csv").write_text("\n".join(rows) + "\n")
    gains = {"deepgaze2": (1.0, 7.0, -0.5), "gold-standard": (2.0, 3.0, 2.0)}
    table = ["image,model,n_fixations,ll,ig"] + [
        f"{image},{model},1,0,{gain}"
        for model, values in gains.items()
        for image, gain in zip(sizes, values, strict=True)
    ]
    (tmp_path / "mit1003.csv").write_text("\n".join(table) + "\n")
    found = run.summary(tmp_path)
    assert found["n_images"] == 2
    assert found["information_gain"]["deepgaze2"]["mean"] == 0.25
    assert found["information_gain_explained"]["mean"] == 0.125
    assert found["images_with_negative_information_gain"] == 1
    assert run.summary(tmp_path, None)["n_images"] == 3


def originals(root):
    """Small files in the layouts of their authors."""
    salicon, mit1003, mit300 = (root / n for n in ("SALICON", "MIT1003", "MIT300"))
    names = [f"COCO_train2014_{k:012d}" for k in range(12)]
    salicon.mkdir()
    writers_gaze.write_salicon(salicon, "train", names)
    (salicon / "images").mkdir()
    for k, name in enumerate(names):
        picture = writers_gaze.picture(640, 480, "JPEG", k)
        (salicon / "images" / f"{name}.jpg").write_bytes(picture)
    mit1003.mkdir()
    stems = [f"i{k}" for k in range(10)]
    writers_gaze.write_mit1003(mit1003, stems, ["anna", "ben", "eva"])
    mit300.mkdir()
    for k, size in enumerate(((400, 300), (300, 400))):
        (mit300 / f"i{k}.jpg").write_bytes(writers_gaze.picture(*size, "JPEG", k))
    return ["--salicon", salicon, "--mit1003", mit1003, "--mit300", mit300]


@pytest.mark.slow
def test_from_the_original_files_to_the_benchmark(run, tmp_path, monkeypatch, capsys):
    """With ICF, few epochs and noise for pictures: every step, none of its quality."""
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DEEPGAZE_DATA", "set by the script")
    work = tmp_path / "work"
    argv = [*map(str, originals(tmp_path)), "--work", str(work)]
    argv += ["--architecture", "icf", "--pretraining-epochs", "2", "--epochs", "2"]
    code = run.main(argv)
    assert code == 0, capsys.readouterr()
    printed = capsys.readouterr().out
    assert printed.count("\ndeepgaze ") + printed.startswith("deepgaze ") == 7

    salicon = read_folder(work / "data/salicon")
    mit1003 = read_folder(work / "data/mit1003")
    assert (len(salicon), len(mit1003)) == (12, 10)
    assert set(salicon.pixels_per_dva) == set(mit1003.pixels_per_dva) == {35}
    _, card = load_model(str(work / "deepgaze2-mit1003.safetensors"))
    assert (card["network"], card["input_scale"]) == ("icf", 1.0)
    assert len(card["folds"]) == 10
    summary = json.loads((work / "summary.json").read_text())
    # The pictures of the small files have 1024x681 pixels, none 1024x768.
    assert summary["paper"]["n_images"] == 0
    assert summary["all"]["n_images"] == 10
    scores = json.loads((work / "mit1003.json").read_text())["models"]
    for name in ("deepgaze2", "center-bias", "gold-standard"):
        mean = summary["all"]["information_gain"][name]["mean"]
        assert mean == pytest.approx(scores[name]["per_image"]["ig"]["mean"])
    # People look at random places of these: nothing can be explained.
    assert summary["all"]["information_gain_explained"] is None
    with h5py.File(work / "mit300.h5") as file:
        assert {name: file[name].shape for name in file} == {
            "i0.jpg": (300, 400),
            "i1.jpg": (400, 300),
        }
        for name in file:
            assert abs(logsumexp(file[name][()].astype(float))) < 1e-3

    # Once more: nothing is left to be done.
    assert run.main(argv) == 0
    assert "deepgaze " not in capsys.readouterr().out.replace("deepgaze2", "")

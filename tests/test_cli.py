"""The command line: files, lines, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracles
import pytest
import small_models
from PIL import Image

from deepgaze_jax import cli
from deepgaze_jax.band_plan import BandPlan
from deepgaze_jax.cli import main
from deepgaze_jax.cli.predict import plan_targets
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.evaluation import evaluate
from deepgaze_jax.model_files import write_tensors
from deepgaze_jax.prediction import Predictor, load_pretrained
from deepgaze_jax.training import Progress, TrainConfig

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def surroundings(small_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(small_cache))
    # The persistent cache is a setting of the whole process; subprocesses test it.
    for module in ("predict", "evaluate", "train"):
        name = f"deepgaze_jax.cli.{module}.keep_compiled_programs"
        monkeypatch.setattr(name, lambda: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(small_folds, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    return str(small_models.write_model(path, small_folds))


def save_picture(path, seed=0, height=24, width=36):
    image = oracles.random_image(seed, height, width).astype(np.uint8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return str(path)


def run(capsys, *argv):
    """(exit code, standard output, standard error)"""
    code = main([str(word) for word in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())


# --- predict ------------------------------------------------------------------------


def test_predict_writes_two_files(capsys, model):
    picture = save_picture("in/a.jpg.png")
    code, out, err = run(capsys, "predict", picture, "-o", "out/deep", "--model", model)
    assert (code, err) == (0, "")
    assert out == f"{picture}: out/deep/a.jpg_log_density.npy, a.jpg_overlay.png\n"
    assert files("out/deep") == ["a.jpg_log_density.npy", "a.jpg_overlay.png"]
    log_density = np.load("out/deep/a.jpg_log_density.npy")
    expected = load_pretrained(model).predict(picture)
    assert log_density.dtype == np.float32
    np.testing.assert_array_equal(log_density, expected)
    with Image.open("out/deep/a.jpg_overlay.png") as overlay:
        assert overlay.size == (36, 24)


def test_predict_agrees_with_the_slow_implementation(
    capsys, model, small_params, small_folds
):
    picture = save_picture("a.png", 3, 41, 57)
    image = oracles.random_image(3, 41, 57)
    argv = ["predict", picture, "-o", "out", "--model", model]
    argv += ["--pixels-per-dva", "30", "--center-bias", "uniform"]
    assert run(capsys, *argv)[0] == 0
    size = 33, 46  # 41 and 57 times 24 / 30
    out = oracles.deepgaze2(
        small_params,
        *small_folds[:2],
        oracles.resize_image(image, *size),
        np.full(size, -np.log(size[0] * size[1])),
    )
    slow = oracles.map_back(out["log_density"], 41, 57)
    np.testing.assert_allclose(
        np.load("out/a_log_density.npy"), slow, rtol=0, atol=1e-5
    )


def test_bad_files_among_good_ones(capsys, model):
    good = [save_picture("a.png"), save_picture("b.png", 1)]
    Path("bad.png").write_text("<html>")
    Path("folder").mkdir()
    pictures = [good[0], "bad.png", "none.png", "folder", good[1]]
    argv = ["predict", *pictures, "-o", "out", "--model", model]
    code, out, err = run(capsys, *argv)
    assert code == 1
    assert [line.partition(":")[0] for line in out.splitlines()] == good
    lines = err.splitlines()
    assert [line.split(":")[:2] for line in lines[:3]] == [
        ["deepgaze", " bad.png"],
        ["deepgaze", " none.png"],
        ["deepgaze", " folder"],
    ]
    assert lines[3:] == ["deepgaze: 3 of 5 pictures failed"]
    assert len(files("out")) == 4
    code, out, err = run(capsys, *argv, "--json")
    objects = [json.loads(line) for line in out.splitlines()]
    assert [entry["image"] for entry in objects] == pictures
    assert ["error" in entry for entry in objects] == [False, True, True, True, False]
    # Nobody counts programs here, and the picture is small.
    assert objects[0] == {
        "programs_compiled": 0,
        "bands": 1,
        "memory_bytes": None,
        "image": "a.png",
        "log_density": "out/a_log_density.npy",
        "overlay": "out/a_overlay.png",
        "height": 24,
        "width": 36,
        "model": Path(model).name,
        "fold": "mixture",
        "center_bias": "pooled",
        "pixels_per_dva": 24.0,
    }


def test_limit_of_memory(capsys, model, monkeypatch):
    picture = save_picture("a.png")
    argv = ["predict", picture, "-o", "out", "--model", model, "--max-memory"]
    # This process has more already.
    code, out, err = run(capsys, *argv, "10MB")
    assert (code, out) == (1, "") and "are allowed" in err and "a.png" in err
    assert files("out") == []
    assert run(capsys, *argv, "500GB")[0] == 0
    plan = BandPlan((24, 36), (12, 18), band=16, workers=1, n_bytes=10**9)
    monkeypatch.setattr(Predictor, "plan", lambda *_, **__: plan)
    monkeypatch.setattr(
        Predictor, "predict_picture", lambda *_, **__: np.zeros((24, 36))
    )
    code, out, err = run(capsys, *argv, "2GB", "--json")
    assert code == 0 and json.loads(out)["bands"] == 1
    assert err == "a.png: in 1 bands of 16 rows, about 1.00 GB of memory\n"


def test_a_file_named_twice_is_one_picture(capsys, model):
    picture = save_picture("a.png")
    again = [picture, f"./{picture}", Path(picture).resolve()]
    argv = ["-o", "out", "--model", model]
    code, out, err = run(capsys, "predict", picture, *again, *argv)
    assert (code, out.count("\n"), err) == (0, 1, "")
    assert files("out") == ["a_log_density.npy", "a_overlay.png"]
    # A link is another name, which its user wants to see again.
    Path("b.png").symlink_to(picture)
    assert run(capsys, "predict", picture, "b.png", *argv)[0] == 0
    assert len(files("out")) == 4


def test_options_of_predict(capsys, model):
    picture = save_picture("a.png")
    argv = ["predict", picture, "-o", "out", "--model", model, "--json"]
    for fold, which in (("1", 1), ("auto", "mixture"), ("mixture", "mixture")):
        code, out, _ = run(capsys, *argv, "--fold", fold)
        assert code == 0 and json.loads(out)["fold"] == which
        expected = load_pretrained(model).predict(picture, fold=which)
        np.testing.assert_array_equal(np.load("out/a_log_density.npy"), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "nosuch"], ["nosuch: no such model"]),
        (["--center-bias", "mit"], ["no center bias 'mit'"]),
        (["--center-bias", "no.npy"], ["no.npy"]),
        (["--fold", "7"], ["fold is 7"]),
        (["--pixels-per-dva", "0"], ["pixels_per_dva is 0"]),
    ],
)
def test_what_fails_for_all_pictures_is_said_once(capsys, model, options, words):
    pictures = [save_picture("a.png"), save_picture("b.png")]
    argv = ["predict", *pictures, "-o", "out", "--model", model, *options]
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("deepgaze: ") and err.count("\n") == 1
    assert all(word in err for word in words)
    assert not Path("out").exists() or not files("out")


def test_missing_weights(capsys, model, monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "empty"))
    argv = ["predict", save_picture("a.png"), "-o", "out", "--model", model]
    code, out, err = run(capsys, *argv)
    assert (code, out, err.count("\n")) == (1, "", 1)
    for words in ("deepgaze weights fetch vgg19", "--file", "--model icf"):
        assert words in err


def test_output_that_cannot_be_a_folder(capsys, model):
    picture = save_picture("a.png")
    for output, words in (
        (picture, f"{picture} is a file; give a folder"),
        (f"{picture}/out", "the folder cannot be made (Not a directory)"),
    ):
        argv = ["predict", picture, "-o", output, "--model", model]
        code, _, err = run(capsys, *argv)
        assert code == 1 and words in err and err.count("\n") == 1


def names(pictures, output="out"):
    targets = plan_targets([Path(p) for p in pictures], Path(output))
    for target in targets:
        stem = target.overlay.name.removesuffix("_overlay.png")
        assert target.log_density == Path(output, f"{stem}_log_density.npy")
        yield None if target.problem else stem


@pytest.mark.parametrize(
    ("pictures", "stems"),
    [
        (["a.jpg", "x/b.png"], ["a", "b"]),
        (["a.jpg", "a.png", "b.png"], ["a.jpg", "a.png", "b"]),
        (["a.jpg", "A.png"], ["a.jpg", "A.png"]),
        (["x/a.jpg", "y/a.jpg", "z/a.jpg"], ["a.jpg", None, None]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        (["a.jpg.png", "a.jpg", "a.png"], ["a.jpg.png", "a.jpg", "a.png"]),
        (["a.png", "out/a_overlay.png"], [None, "a_overlay"]),
        (["out/../a.png", "./out/a_log_density.npy"], [None, "a_log_density"]),
    ],
)
def test_names_of_results(pictures, stems):
    assert list(names(pictures)) == stems


def test_no_input_is_overwritten(capsys, model):
    pictures = [save_picture("a.png"), save_picture("a_overlay.png", 1)]
    before = Path("a_overlay.png").read_bytes()
    code, _, err = run(capsys, "predict", *pictures, "-o", ".", "--model", model)
    assert code == 1 and "a.png: its results would overwrite an input" in err
    assert Path("a_overlay.png").read_bytes() == before
    assert files(".") == [
        "a.png",
        "a_overlay.png",
        "a_overlay_log_density.npy",
        "a_overlay_overlay.png",
    ]
    # Results of an earlier run are replaced.
    assert run(capsys, "predict", "a.png", "-o", "out", "--model", model)[0] == 0
    assert run(capsys, "predict", "a.png", "-o", "out", "--model", model)[0] == 0


def test_results_appear_whole_or_not_at_all(capsys, model, monkeypatch):
    picture = save_picture("a.png")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    code, _, err = run(capsys, "predict", picture, "-o", "out", "--model", model)
    assert code == 1 and err.splitlines()[0] == "deepgaze: a.png: full"
    assert files("out") == []


# --- other verbs --------------------------------------------------------------------


def test_demo(capsys, model):
    code, out, err = run(capsys, "demo", "--model", model)
    assert (code, err) == (0, "")
    made = ["grace_hopper_log_density.npy", "grace_hopper_overlay.png"]
    assert files("deepgaze-demo") == made
    assert all(f"deepgaze-demo/{name}" in out for name in made)
    assert abs(np.exp(np.float64(np.load(f"deepgaze-demo/{made[0]}"))).sum() - 1) < 1e-5


def test_demo_fetches_what_is_missing(
    capsys, model, monkeypatch, small_params, tmp_path
):
    cache = tmp_path / "new"
    monkeypatch.setenv("DEEPGAZE_CACHE", str(cache))

    def fetch(name, progress):
        progress(0, 10, "downloading")
        progress(10, 10, "downloading")
        return small_models.write_feature_weights(cache, small_params)

    monkeypatch.setattr("deepgaze_jax.cli.predict.fetch", fetch)
    code, out, err = run(capsys, "demo", "--model", model, "-o", "there")
    assert code == 0 and "there/grace_hopper_overlay.png" in out
    assert "fetching the weights of vgg19" in err


def write_folder(root):
    (root / "images").mkdir(parents=True)
    rows = ["image,subject,fixation_index,x,y"]
    for k in range(3):
        save_picture(root / "images" / f"{k}.png", k)
        rows += [f"{k}.png,0,{n},{3 + 9 * n},{5 + 4 * k}" for n in range(3)]
    (root / "fixations.csv").write_text("\n".join(rows) + "\n")
    return root


def test_evaluate(capsys, model):
    folder = write_folder(Path("data set"))
    argv = ["evaluate", "--data", folder, "--model", model, "-o", "r/t.csv"]
    code, out, err = run(capsys, *argv)
    assert code == 0
    result = evaluate(load_pretrained(model), read_folder(folder))
    first, summary = result.models[0].rows[0].scores, result.as_json()
    written = json.loads(Path("r/t.json").read_text())
    for averaging in ("per_image", "per_fixation"):
        for metric, value in summary.pop(averaging).items():
            assert written[averaging][metric] == value
    of_two, of_all = summary.pop("model"), written["model"]
    assert of_two.pop("key") != of_all["key"] and of_two.items() <= of_all.items()
    assert summary.pop("maps").items() <= written["maps"].items()
    assert {name: written[name] for name in summary} == summary
    lines = Path("r/t.csv").read_text().splitlines()
    assert lines[0] == "image,model,n_fixations,ll,ig,auc,sauc,nss,cc,kldiv,sim"
    start = f"0.png,{Path(model).name},3,{first['ll']!r},{first['ig']!r},"
    assert lines[1].startswith(start)
    summary = written
    ig = summary["per_image"]["ig"]
    assert f"{ig['mean']:.3f} [{ig['low']:.3f}, {ig['high']:.3f}]" in out
    assert "pooled center bias" in out
    assert "\r" not in err and "Traceback" not in err
    code, out, err = run(capsys, *argv[:-1], "t.txt")
    assert code == 2 and ".csv" in err
    table = Path(folder, "fixations.csv")
    before = table.read_bytes()
    code, out, err = run(capsys, *argv[:-1], str(table))
    assert code == 2 and "is a table of the data set" in err
    assert table.read_bytes() == before
    code, _, err = run(
        capsys, "evaluate", "--data", "no", "--model", model, "-o", "t.csv"
    )
    assert code == 1 and "no: is neither a folder nor the name of a data set" in err
    assert err.count("\n") == 1


def test_weights(capsys, small_cache):
    code, out, err = run(capsys, "weights", "list")
    assert (code, err) == (0, "")
    header, row, *others = out.splitlines()
    assert header.split() == ["name", "family", "size", "here", "licence"]
    assert row.split()[:5] == ["vgg19", "O", "80", "MB", "yes"]
    assert [other.split()[0] for other in others] == ["alexnet", "vgg16"]
    code, out, err = run(capsys, "weights", "fetch", "vgg19")
    assert (code, err) == (0, "")
    assert out == f"{small_cache / 'weights' / 'vgg19.safetensors'}\n"
    Path("page.h5").write_text("<html>")
    code, out, err = run(capsys, "weights", "fetch", "vgg19", "--file", "page.h5")
    assert (code, out, err.count("\n")) == (1, "", 1) and "page.h5" in err
    code, _, err = run(capsys, "weights", "fetch", "vgg18")
    assert code == 2 and "'vgg18'" in err


def test_doctor(capsys, small_cache):
    code, out, err = run(capsys, "doctor")
    assert (code, err) == (0, "")
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    for name in ("python", "jax", "jaxlib", "flax", "optax", "numpy", "deepgaze-jax"):
        assert rows[name].strip()[0].isdigit(), name
    assert "orbax-checkpoint" in rows and "cpu:0" in rows["devices"]
    assert str(small_cache) in rows["cache"]
    assert rows["weights vgg19"].strip() == "there"
    assert "model deepgaze2-osie" in rows


# --- train and export drive deepgaze_jax.training -------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """Training that only notes how it was called."""
    calls = []

    def train(dataset, config, run_folder, **options):
        progress = options.pop("progress")
        progress(Progress("features", 0, 2, message="2 GB"))
        progress(Progress("features", 2, 2))
        for epoch in (1, 2):
            progress(Progress("epoch", 1, 3, epoch, 2, 0.5))
            progress(Progress("epoch", 3, 3, epoch, 2, 1.2345))
        calls.append((len(dataset), config, run_folder, options))
        card = {
            "scores": {"validation_information_gain": [0.75, -0.25]},
            "best_epoch": [7, 3],
            "folds": [{"fold": 0}, {"fold": 4}],
        }
        run_folder.mkdir(exist_ok=True)
        path = run_folder / "model.safetensors"
        write_tensors(path, {"a": np.ones(1)}, card)
        return path

    monkeypatch.setattr("deepgaze_jax.training.train", train)
    monkeypatch.setattr(
        "deepgaze_jax.training.export_run",
        lambda *args, **options: calls.append((args, options)),
    )
    return calls


def test_train(capsys, calls):
    folder = write_folder(Path("data"))
    code, out, err = run(capsys, "train", "--data", folder, "-o", "run")
    assert code == 0
    assert out == (
        "run\nvalidation IG 0.250 bit/fixation over the center bias (mean of 2 folds); "
        "best epochs 3 to 7\n"
    )
    assert "warning: fold 4: validation IG is not above 0" in err
    options = ["--resume", "--folds", "9/1", "--learning-rate", "0.5"]
    options += ["--max-cache-gb", "1.5"]
    assert run(capsys, "train", "--data", folder, "-o", "run", *options)[0] == 0
    plain = {"resume": False, "max_cache_bytes": None}
    chosen = {"resume": True, "max_cache_bytes": 1_500_000_000}
    plain, chosen = (
        kind | {"start_from": None, "stop_on": None, "tensorboard": False}
        for kind in (plain, chosen)
    )
    assert calls == [
        (3, TrainConfig(), Path("run"), plain),
        (3, TrainConfig(folds="9/1", learning_rate=0.5), Path("run"), chosen),
    ]
    assert "epoch 2/2: validation IG 1.234 bit/fixation over the center bias" in err
    assert "2 GB" in err and "\r" not in err
    assert run(capsys, "train", "--data", folder, "-o", "run", "--folds", "2")[0] == 2
    argv = ["train", "--data", folder, "-o", "run", "--process", "1"]
    code, _, err = run(capsys, *argv)
    assert code == 2 and "--process are of --distributed" in err
    options = ["--from", "deepgaze2", "--stop-on", folder, "--folds", "all"]
    assert run(capsys, "train", "--data", folder, "-o", "run", *options)[0] == 0
    assert calls[-1][1] == TrainConfig(folds="all")
    assert calls[-1][3]["start_from"] == "deepgaze2"
    assert len(calls[-1][3]["stop_on"]) == 3


def test_export(capsys, calls):
    assert run(capsys, "export", "run", "-o", "m.safetensors")[:2] == (
        0,
        "m.safetensors\n",
    )
    argv = ["export", "run", "-o", "m.safetensors", "--evaluation", "t.json"]
    Path("t.json").write_text('{"n_images": 3}')
    assert run(capsys, *argv)[0] == 0
    place = (Path("run"), Path("m.safetensors"))
    assert calls == [
        (place, {"evaluation": None}),
        (place, {"evaluation": {"n_images": 3}}),
    ]
    Path("t.json").write_text("image,n_fixations")
    code, out, err = run(capsys, *argv)
    assert (code, out, err.count("\n")) == (1, "", 1) and "t.json" in err


# --- usage, errors, exit codes --------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["weights"],
        ["predict"],
        ["predict", "a.png"],
        ["predict", "-o", "out"],
        ["predict", "a.png", "-o", "out", "--fold", "most"],
        ["predict", "a.png", "-o", "out", "--nonsense"],
        ["predict", "a.png", "-o", ""],
        ["predit", "a.png"],
        ["weights", "fetsch"],
        ["weights", "fetch"],
        ["evaluate", "--data", "x"],
        ["doctor", "now"],
        ["--nonsense"],
    ],
)
def test_wrong_usage(capsys, argv):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "") and err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["predict"], "missing: -o DIR, --output DIR; see deepgaze predict --help"),
        (["predict", "a.png", "-o"], "-o/--output needs a value"),
        (["predict", "a.png", "-o", "out", "--fold", "most"], "--fold is 'most'; expe"),
        (
            ["predict", "a.png", "-o", "out", "--pixels-per-dva", "x"],
            "--pixels-per-dva is 'x'; expected a number",
        ),
        (
            ["predict", "a.png", "-o", "out", "--max-memory", "plenty"],
            "'plenty' is no amount of memory; write it as 2GB, 800MB or 1.5GiB",
        ),
        (
            ["predict", "a.png", "-o", "out", "--modle", "icf"],
            "there is no option --modle, icf; did you mean --model MODEL?",
        ),
        (["train", "--epochs", "x"], "--epochs is 'x'; expected a whole number"),
        (["train", "--folds", "2"], "--folds is '2'; expected one of '8/1/1', '9/1'"),
        (["train"], "missing: --data DATA; -o RUN, --output RUN"),
        (["weights", "fetch"], "missing: NAME; see deepgaze weights fetch --help"),
    ],
)
def test_wrong_options_are_named_in_one_line(capsys, argv, words):
    if argv[:1] == ["train"] and len(argv) > 1:
        argv = [*argv, "--data", "data", "-o", "run"]
    code, out, err = run(capsys, *argv)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"deepgaze: {words}")


@pytest.mark.parametrize("verb", sorted(cli._VERBS))
def test_help_fits_the_terminal_and_does_not_speak_python(capsys, monkeypatch, verb):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(capsys, *verb.split(), "--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for words in ("None", "NoneType", "False", "STR]]}", "1.4583333333333333"):
        assert words not in out


def test_hints(capsys):
    assert "did you mean predict?" in run(capsys, "predit")[2]
    assert "did you mean weights fetch?" in run(capsys, "weights", "fetsch")[2]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--help"], ["predict", "demo", "evaluate", "train", "export", "doctor"]),
        (["-h"], ["weights fetch"]),
        (["weights", "--help"], ["weights fetch", "weights list"]),
        (["predict", "--help"], ["IMAGE", "-o DIR", "--center-bias", "--json"]),
        (["evaluate", "--help"], ["--data", "--fold"]),
        (["weights", "fetch", "--help"], ["NAME", "--file"]),
        (["--version"], ["deepgaze-jax 0."]),
    ],
)
def test_help(capsys, argv, words):
    code, out, err = run(capsys, *argv)
    assert (code, err) == (0, "")
    assert all(word in out for word in words)


def test_interrupted(capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("deepgaze_jax.cli.predict.load_pretrained", interrupted)
    argv = ["predict", "a.png", "-o", "out"]
    assert run(capsys, *argv) == (130, "", "deepgaze: interrupted\n")
    folder = write_folder(Path("data"))
    monkeypatch.setattr("deepgaze_jax.training.train", interrupted)
    code, out, err = run(capsys, "train", "--data", folder, "-o", "run")
    assert (code, out) == (130, "")
    hint = "go on with the same command and --resume"
    assert err == f"deepgaze: interrupted; {hint}\n"


def in_a_process(*argv, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "deepgaze_jax", *argv],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def test_a_normal_run_prints_no_warning_and_keeps_programs(model, small_cache):
    picture = save_picture("a.png")
    result = in_a_process("predict", picture, "-o", "out", "--model", model)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "a.png: out/a_log_density.npy, a_overlay.png\n"
    assert (small_cache / "jax").is_dir()
    again = in_a_process("predict", picture, "-o", "out", "--model", model, "--json")
    assert json.loads(again.stdout)["programs_compiled"] == 0
    picture = save_picture("b.png", width=37)
    other = in_a_process("predict", picture, "-o", "out", "--model", model, "--json")
    assert json.loads(other.stdout)["programs_compiled"] > 0


def test_exit_codes_of_the_process(model):
    assert in_a_process("--version").returncode == 0
    result = in_a_process("predict", "none.png", "-o", "out", "--model", model)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert in_a_process("predict").returncode == 2


def test_reader_that_goes_away(model):
    pictures = [save_picture(f"{k}.png") for k in range(2)]
    command = [sys.executable, "-m", "deepgaze_jax", "predict", *pictures]
    command += ["-o", "out", "--model", model]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), error) == (1, b"")

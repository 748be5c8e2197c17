"""Figures: what is on them, and that they can be printed."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import small_models
import tiny
from matplotlib import colors
from PIL import Image

from deepgaze_jax.cli import main
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.figures.charts import (
    Bar,
    draw_bars,
    gold_against_models,
    model_bars,
    read_ablation,
)
from deepgaze_jax.figures.examples import (
    Example,
    draw_examples,
    draw_gains,
    extreme_differences,
    extreme_images,
)
from deepgaze_jax.figures.panels import draw_density, draw_gain, gain_scale
from deepgaze_jax.figures.score_tables import GOLD, Scores, read_scores
from deepgaze_jax.figures.style import (
    COLUMN_WIDTH,
    TEXT_WIDTH,
    looks,
    new_figure,
    save_figure,
    style,
)

IMAGES = ("a.png", "b.png", "c.png", "d.png")


@pytest.fixture(autouse=True)
def styled():
    with style():
        yield


def scores(**columns):
    ig = {
        name.replace("_", "-"): dict(zip(IMAGES, values, strict=True))
        for name, values in columns.items()
    }
    return Scores(ig, "center bias", "made up")


@pytest.fixture
def some():
    return scores(
        weak=[0.5, 0.6, 0.0, 0.1],
        strong=[1.9, 1.0, 0.5, 2.0],
        gold_standard=[2.0, 2.0, 1.0, 2.2],
        center_bias=[0.0, 0.0, 0.0, 0.0],
    )


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_bars_of_models(some):
    figure = model_bars(some, {"weak": "A weak one"})
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["strong", "A weak one"]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([100 * 5.4 / 7.2, 100 * 1.2 / 7.2])
    assert texts(axes) == ["75 %", "17 %"]
    assert "explained" in axes.get_xlabel()
    assert len(axes.containers) == 4  # Two bars, two whiskers.
    assert figure.get_figwidth() == COLUMN_WIDTH
    # Without a gold standard they are bits.
    alone = Scores({"strong": some.ig["strong"]}, "center bias", "")
    (axes,) = model_bars(alone).axes
    assert axes.patches[0].get_width() == pytest.approx(1.35)
    assert "bit/fixation" in axes.get_xlabel()
    with pytest.raises(DataError, match="only references"):
        model_bars(Scores({GOLD: some.ig[GOLD]}, "", ""))


def test_images_under_gold_standard_and_model(some):
    figure = gold_against_models(some)
    assert len(figure.axes) == 2
    assert COLUMN_WIDTH < figure.get_figwidth() <= TEXT_WIDTH
    points = figure.axes[0].collections[0].get_offsets()
    gold, strong = some.ig[GOLD].values(), some.ig["strong"].values()
    np.testing.assert_allclose(points, np.stack([[*gold], [*strong]], axis=1))
    assert texts(figure.axes[0]) == ["75 % explained"]
    assert figure.axes[0].get_xlim() == figure.axes[0].get_ylim()
    # The text hides no point, not even of a model that falls short everywhere.
    weak = scores(weak=[-0.5, -0.4, -0.3, -0.6], gold_standard=[2.9, 2.0, 1.0, 2.2])
    (axes,) = gold_against_models(weak).axes
    axes.figure.canvas.draw()
    assert texts(axes) == ["\N{MINUS SIGN}22 % explained"]
    box = axes.texts[0].get_window_extent()
    for point in axes.transData.transform(axes.collections[0].get_offsets()):
        assert not box.contains(*point)


def test_ablation(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("label,ig_explained,low,high\nfull,0.8,0.7,0.9\nless,0.5,,\n")
    bars, is_share = read_ablation(path)
    assert bars == [Bar("full", 0.8, 0.7, 0.9), Bar("less", 0.5)] and is_share
    (axes,) = draw_bars(bars, is_share).axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([80, 50])
    path.write_text("label,ig\nfull,-0.2\n")
    bars, is_share = read_ablation(path)
    (axes,) = draw_bars(bars, is_share).axes
    assert not is_share and axes.get_xlim()[0] < -0.2
    for text in ("", "label,auc\na,1\n", "label,ig\na,x\n", "ig\n1\n"):
        path.write_text(text)
        with pytest.raises(DataError, match="no table of an ablation"):
            read_ablation(path)


@pytest.mark.parametrize("label", ["a", "DeepGaze I, half of the features dropped"])
def test_long_labels_leave_room_for_what_is_below_the_bars(label):
    with style():
        figure = draw_bars([Bar(label, 1.887), Bar("b", 0.5)], is_share=False)
        figure.canvas.draw()
    axes, edge = figure.axes[0], figure.bbox
    inside = [axes.xaxis.label, *axes.get_yticklabels(), *axes.texts]
    for text in inside:
        box = text.get_window_extent()
        assert edge.x0 <= box.x0 and box.x1 <= edge.x1, text
    assert COLUMN_WIDTH <= figure.get_figwidth() <= TEXT_WIDTH
    assert (figure.get_figwidth() == COLUMN_WIDTH) == (label == "a")


def test_looks_differ_in_black_and_white():
    found = list(looks("abcde").values())
    assert len({look.hatch for look in found}) == 5
    assert len({look.marker for look in found}) == 5
    grey = [
        np.dot(colors.to_rgb(look.colour), [0.299, 0.587, 0.114]) for look in found[:4]
    ]
    assert (np.diff(grey) > 0.08).all()


def test_extremes(some):
    # To the gold standard: -0.1, -1.0, -0.5, -0.2.
    best, worst = extreme_images(some, "strong", 2)
    assert best == ["a.png", "d.png"] and worst == ["b.png", "c.png"]
    assert len(extreme_images(some, "strong", 9)[0]) == 2
    gains, losses = extreme_differences(some, "strong", "weak", 1)
    assert (gains, losses) == (["d.png"], ["b.png"])
    alone = Scores({"strong": some.ig["strong"]}, "", "")
    assert extreme_images(alone, "strong", 1) == (["d.png"], ["c.png"])


def example(name="a.png", shape=(60, 80), models=(GOLD, "strong")):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    densities = {}
    for k, model in enumerate(models):
        density = np.exp(-((y - 20 - 5 * k) ** 2 + (x - 30) ** 2) / 100) + 1e-3
        densities[model] = density / density.sum()
    return Example(
        name,
        rng.uniform(0, 255, (*shape, 3)).astype(np.float32),
        rng.uniform(0, shape[1], 7),
        rng.uniform(0, shape[0], 7),
        densities,
        dict.fromkeys(models, -0.5),
        np.full(shape, 1 / (shape[0] * shape[1])),
    )


def test_examples():
    examples = [example(), example("b.png", (80, 50))]
    figure = draw_examples(examples)
    panels = figure.axes
    assert len(panels) == 2 * 2 * 3
    assert figure.get_figwidth() <= TEXT_WIDTH and figure.get_figheight() < 8.3
    titles = [axes.get_title() for axes in panels[:3]]
    assert titles == ["Image, fixations", "Gold standard", "strong"]
    assert panels[0].get_xlabel() == "7 fixations"
    assert panels[1].get_xlabel() == "IG \N{MINUS SIGN}0.50 bit"
    # As many drawn fixations as people made, all inside; panels keep their shape.
    for axes in panels[3:6]:
        points = axes.collections[-1].get_offsets()
        assert points.shape == (7, 2) and (points >= 0).all()
        assert (points <= [80, 60]).all()
    for axes, ratio in ((panels[0], 60 / 80), (panels[11], 80 / 50)):
        box = axes.get_position()
        height = box.height * figure.get_figheight()
        assert height / (box.width * figure.get_figwidth()) == pytest.approx(ratio)
    with pytest.raises(DataError, match="no image"):
        draw_examples([])


def test_contours_split_the_mass():
    axes = new_figure(2, 2).add_subplot()
    y, x = np.mgrid[:300, :400]
    density = np.exp(-((y - 120) ** 2 + (x - 220) ** 2) / (2 * 40**2))
    density /= density.sum()
    draw_density(axes, density)
    lines = axes.collections[-1]
    shares = [
        density[density > level].sum() for level in sorted(lines.levels, reverse=True)
    ]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.75], atol=0.02)
    draw_density(axes, np.full((30, 40), 1 / 1200))  # Nothing to draw.


def test_gains_and_losses():
    axes = new_figure(2, 2).add_subplot()
    gain = np.zeros((60, 80))
    gain[10:20, 10:20], gain[40:50, 50:60] = 1.0, -0.5
    draw_gain(axes, gain, gain_scale([gain]))
    styles = {str(line) for drawn in axes.collections for line in drawn.get_linestyle()}
    assert len(styles) >= 2  # Losses are dashed.
    figure = draw_gains([example()])
    one = example()
    expected = one.densities[GOLD] * np.log2(one.densities[GOLD] / one.baseline)
    assert figure.axes[1].get_xlabel() == f"sum {expected.sum():.2f} bit"
    with pytest.raises(DataError, match="need the gold standard"):
        draw_gains([example(models=("strong",))])


def test_files_can_be_printed(some, tmp_path):
    figure = model_bars(some)
    pdf, png = save_figure(figure, tmp_path / "new", "bars")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF") and b"/FontFile2" in content
    assert b"/Type3" not in content
    with Image.open(png) as picture:
        assert picture.width == pytest.approx(COLUMN_WIDTH * 220, abs=1)
    again = save_figure(model_bars(some), tmp_path / "again", "bars")[0]
    assert again.read_bytes() == content
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "bars.pdf",
        "bars.png",
    ]


def test_texts_that_cannot_be_printed(tmp_path):
    save_figure(draw_bars([Bar("$a_$ \\größer", 0.5)], True), tmp_path, "a")
    with pytest.raises(InputError, match=r"choose other names for print"):
        save_figure(draw_bars([Bar("\u65e5", 0.5)], True), tmp_path, "b")
    assert not list(tmp_path.glob("*b.*"))


def test_the_style_is_not_left_behind():
    before = dict(matplotlib.rcParams)
    with style():
        matplotlib.rcParams["font.size"] = 30
    assert dict(matplotlib.rcParams) == before


# --- tables -----------------------------------------------------------------------


def write_table(path, ig_over="center bias", models=("m",), data="d"):
    rows = [f"{image},{name},3,0.5" for name in models for image in IMAGES]
    path.write_text("\n".join(["image,model,n_fixations,ig", *rows, ""]))
    summary = {"ig_over": ig_over, "data": data}
    summary["models"] = {name: {"model": {"kind": name}} for name in models}
    path.with_suffix(".json").write_text(json.dumps(summary))
    return path


def test_tables(tmp_path):
    first = write_table(tmp_path / "a.csv", models=("m", "n"))
    second = write_table(tmp_path / "b.csv", models=("o",))
    found = read_scores([first, second])
    assert list(found.ig) == ["m", "n", "o"] and found.baseline == "center bias"
    assert found.cards["o"] == {"kind": "o"}
    with pytest.raises(DataError, match="'m' is in an earlier table"):
        read_scores([first, first])
    other = write_table(tmp_path / "c.csv", ig_over="uniform", models=("p",))
    with pytest.raises(DataError, match="is over uniform, the first table over center"):
        read_scores([first, other])
    other = write_table(tmp_path / "c.csv", data="e", models=("p",))
    with pytest.raises(DataError, match="different data sets"):
        read_scores([first, other])
    other.with_suffix(".json").unlink()
    with pytest.raises(DataError, match=r"has no c\.json beside it"):
        read_scores([other])
    with pytest.raises(DataError, match=r"no model 'x'; they have m, n, o"):
        found.common("x")
    # A table of a single model, as earlier versions wrote them.
    other.write_text("image,n_fixations,ll,ig\na.png,2,0.5,0.25\nb.png,0,,\n")
    other.with_suffix(".json").write_text('{"model": {"name": "old"}, "ig_over": "x"}')
    assert read_scores([other]).ig == {"old": {"a.png": 0.25}}


# --- the command ------------------------------------------------------------------


@pytest.fixture
def evaluated(small_cache, small_folds, monkeypatch, tmp_path):
    """A data set with a table of two models and two references."""
    monkeypatch.setenv("DEEPGAZE_CACHE", str(small_cache))
    for module in ("evaluate", "figures"):
        name = f"deepgaze_jax.cli.{module}.keep_compiled_programs"
        monkeypatch.setattr(name, lambda: None)
    monkeypatch.chdir(tmp_path)
    tiny.write_folder(Path("data"), [(30, 40)] * 7, 3)
    dataset = read_folder("data")
    # People who look at one place make a gold standard worth the name.
    rows = [
        (name, f"s{s}", k, 12 + s + (5 * i) % 11, 9 + k)
        for i, name in enumerate(dataset.image_names)
        for s in range(3)
        for k in range(3)
    ]
    tiny.write_fixations(Path("data"), rows)
    Path("maps").mkdir()
    for index, name in enumerate(dataset.image_names):
        grey = dataset.image(index).mean(axis=-1)
        Image.fromarray(grey.astype(np.uint8)).save(Path("maps", name))
    model = small_models.write_model(Path("ours.safetensors"), small_folds)
    models = [f"ours={model}", "maps", "center-bias", "gold-standard"]
    argv = ["evaluate", "--data", "data", "--metrics", "ll", "ig", "-o", "t.csv"]
    assert main([*argv, "--baseline", "uniform", "--model", *models]) == 0
    return models


def test_all_figures(evaluated, monkeypatch, capsys):
    Path("a.csv").write_text("label,ig_explained\nfull,0.8\nless,0.5\n")

    def fitted_again(*arguments, **options):
        raise AssertionError("the table knows the parameters")

    monkeypatch.setattr(
        "deepgaze_jax.evaluation.baselines.fit_gold_standard", fitted_again
    )
    baselines = []

    def kept(examples, labels):
        baselines.extend(example.baseline for example in examples)
        return draw_gains(examples, labels)

    monkeypatch.setattr("deepgaze_jax.cli.figures.draw_gains", kept)
    argv = ["figures", "t.csv", "-o", "out", "--data", "data", "--n-images", "1"]
    argv += ["--ablation", "a.csv", "--labels", "ours=Our model"]
    assert main([*argv, "--models", *evaluated[:2]]) == 0
    stems = "ablation best_images gains_per_pixel gold_against_models ig_explained"
    stems += " largest_gains largest_losses worst_images"
    expected = sorted(f"{s}.{kind}" for s in stems.split() for kind in ("pdf", "png"))
    assert sorted(path.name for path in Path("out").iterdir()) == expected
    said = capsys.readouterr()
    # The table's information gain is over the uniform density; so are the pictures'.
    np.testing.assert_allclose(baselines, np.full((1, 30, 40), 1 / 1200), rtol=1e-6)
    assert "8 figures" in said.out and "bit to gold-standard" in said.err


def test_wrong_use_of_the_command(evaluated, capsys):
    argv = ["figures", "t.csv", "-o", "out"]
    for words, code, message in (
        (["--labels", "ours"], 2, "not of the form NAME=TEXT"),
        (["--n-images", "0"], 2, "expected at least 1"),
        (["--data", "none"], 1, "is neither a folder nor the name"),
        (["--data", "data", "--model", "x"], 1, "no model 'x'"),
        (["--labels", "our=Ours"], 2, "no model 'our'; they have ours, maps"),
        (["--data", "data", "--models", "b=maps"], 2, "no model 'b'"),
        (["--data", "data"], 2, "maps"),  # Is there, but `ours` is not a name.
    ):
        assert main([*argv, *words]) == code
        if "--data" not in words or words[1] != "data" or len(words) > 2:
            assert message in capsys.readouterr().err
    assert main(["figures", "-o", "out"]) == 2
    table = Path("data/fixations.csv")
    table.write_text(table.read_text().rsplit("\n", 2)[0] + "\n")
    assert main([*argv, "--data", "data"]) == 1
    assert "is not the data set that the tables are about" in capsys.readouterr().err

"""Every measured number in README.md and experiments/README.md is a stored result."""

import re

import published
import published_search
import pytest
from published_sentences import SENTENCES
from published_tables import NOT_MEASURED, TABLES

from deepgaze_jax import weights
from deepgaze_jax.cli import main as deepgaze
from deepgaze_jax.evaluation import find_cache
from deepgaze_jax.model_files import load_model
from deepgaze_jax.prediction import load_pretrained

TABLES = {**TABLES, **published_search.TABLES}
SENTENCES = [*SENTENCES, *published_search.SENTENCES]


@pytest.mark.parametrize(("name", "header"), list(TABLES))
def test_table(name, header):
    published.check_rows(published.rows_of(name, header), TABLES[name, header]())


@pytest.mark.parametrize(("name", "pattern", "values"), SENTENCES)
def test_sentence(name, pattern, values):
    published.check_sentence(name, published.document(name), pattern, values())


@pytest.mark.parametrize("name", [published.README, published.EXPERIMENTS])
def test_no_table_of_numbers_is_left_out(name):
    known = {*TABLES, *NOT_MEASURED}
    for header, rows in published.tables(published.document(name)).items():
        printed = [n for row in rows for cell in row for n in published.numbers(cell)]
        assert (name, header) in known or not printed, header


def with_other_digit(text, number):
    """Returns a text whose `number`-th number ends in another digit; None without."""
    found = list(re.finditer(r"\d+\.\d+|\d+", text))
    if number >= len(found):
        return None
    end = found[number].end()
    return f"{text[: end - 1]}{(int(text[end - 1]) + 1) % 10}{text[end:]}"


@pytest.mark.parametrize(("name", "header"), list(TABLES))
def test_every_edit_of_a_table_is_noticed(name, header):
    rows = published.rows_of(name, header)
    expected = TABLES[name, header]()
    n_edits = 0
    for row in rows:
        for k, cell in list(enumerate(row))[1:]:
            number = 0
            while (edited := with_other_digit(cell, number)) is not None:
                row[k] = edited
                with pytest.raises(published.Wrong):
                    published.check_rows(rows, expected)
                row[k], number = cell, number + 1
            n_edits += number
    assert n_edits == sum(len(cell) for row in expected.values() for cell in row) > 0


@pytest.mark.parametrize(("name", "pattern", "values"), SENTENCES)
def test_every_edit_of_a_sentence_is_noticed(name, pattern, values):
    text = " ".join(published.document(name).split())
    found = re.search(pattern, text)
    for group in range(1, found.re.groups + 1):
        end = found.end(group)
        edited = f"{text[: end - 1]}{(int(text[end - 1]) + 1) % 10}{text[end:]}"
        with pytest.raises(published.Wrong):
            published.check_sentence(name, edited, pattern, values())


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("deepgaze2-osie", marks=pytest.mark.slow),
        pytest.param("deepgaze2-osie-paper", marks=pytest.mark.study),
        pytest.param("deepgaze1-osie", marks=pytest.mark.study),
        pytest.param("icf-osie", marks=pytest.mark.study),
    ],
)
def test_evaluate_prints_what_the_card_says(name, shared_data, osie, tmp_path, capsys):
    """To the last printed digit, of all images; minutes where nothing is cached."""
    network = load_model(name)[1]["network"]
    if network in weights.REGISTRY and weights.cached_path(network) is None:
        pytest.skip(f"{network} is not in the weights cache")
    if network == "vgg19" and find_cache(load_pretrained(name), osie) is None:
        pytest.skip("VGG-19's features of OSIE are not cached: 20 minutes")
    words = ["--data", str(shared_data / "osie"), "-o", str(tmp_path / "t.csv")]
    assert deepgaze(["evaluate", "--model", name, *words, "--metrics", "ll", "ig"]) == 0
    printed = capsys.readouterr().out
    scores = load_model(name)[1]["scores"]["evaluation"]
    for metric, title in {"ig": "IG", "ll": "LL"}.items():
        mean = scores["per_image"][metric]
        by_fixation = scores["per_fixation"][metric]["mean"]
        line = next(x for x in printed.splitlines() if x.startswith(f"{title} "))
        found = re.findall(r"\d+\.\d{3}", line)
        expected = [mean["mean"], mean["low"], mean["high"], by_fixation]
        assert found == [f"{value:.3f}" for value in expected]
    assert f"{scores['n_images']} images, {scores['n_fixations']} fixations" in printed

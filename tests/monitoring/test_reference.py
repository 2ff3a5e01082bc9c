"""Reference profiles: made, written, read, held against a model."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock
from penstock import ProfileError, ReferenceProfile, build_profile
from penstock.monitoring.binning import bins_of_numbers, bins_of_texts
from penstock.spec import ABOVE, BELOW, MISSING, Batching, ModelSpec, TensorSpec
from penstock.terminal.profile import add_arguments, run
from tests import models
from tests.monitoring.histograms import count

RANDOM = np.random.default_rng(0)


def spec(datatype: str = "FP32", dims: tuple[int, ...] = (4,)) -> ModelSpec:
    return ModelSpec(
        "m", 1, (TensorSpec("x", datatype, dims),), (TensorSpec("y", "FP32", (3,)),), Batching(8)
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    models.write(tmp_path, "m", models.mlp())
    return tmp_path


# --- Bins ----------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500), st.integers(1, 32))
def test_bins_cover_their_sample_and_are_no_more_than_wanted(values, limit):
    bins = bins_of_numbers(values, limit)
    assert 1 <= bins.count <= limit
    counted = count(bins, np.array(values))
    assert counted.sum() == len(values)
    assert counted[BELOW] == counted[ABOVE] == counted[MISSING] == 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=300))
def test_few_values_are_a_category(values):
    bins = bins_of_numbers(values)
    assert bins.values == tuple(float(value) for value in sorted(set(values)))


def test_a_value_that_quantiles_repeat_has_a_bin_of_its_own():
    values = np.where(RANDOM.random(50_000) < 0.6, 1.0, RANDOM.normal(1, 5, 50_000))
    bins = bins_of_numbers(values)
    assert bins.count <= 32
    at = bins.edges.index(1.0) - 1
    assert count(bins, values)[at] == (values == 1.0).sum()
    shifted = np.where(values == 1.0, 1.0 + 1e-6, values)
    assert count(bins, shifted)[at] == 0


def test_bins_of_equal_mass_where_values_are_many():
    counts = count(bins_of_numbers(RANDOM.normal(size=32_000)), RANDOM.normal(size=32_000))
    assert counts[:32].min() > 800


def test_infinities_and_missing_values_make_no_bins():
    bins = bins_of_numbers([1.0, 2.0, np.inf, -np.inf, np.nan])
    assert bins.values == (1.0, 2.0)
    with pytest.raises(ValueError, match="no finite value"):
        bins_of_numbers([np.nan, np.inf])


def test_texts_by_frequency_then_by_name():
    assert bins_of_texts(["b", "a", b"c", "c", "", None]).values == ("c", "a", "b")
    assert bins_of_texts(map(str, range(100))).count == 32


# --- From data -----------------------------------------------------------------------------------


def test_every_source_of_the_same_rows_gives_the_same_features(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    data = RANDOM.normal(size=(3_000, 3))
    names = ["a", "b", "c"]
    frame = pandas.DataFrame(data, columns=names)
    table = pyarrow.Table.from_pandas(frame)
    parquet.write_table(table, tmp_path / "rows.parquet")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    np.save(tmp_path / "rows.npy", data)
    expected = build_profile(data, names=names)
    assert [feature.name for feature in expected.features] == names
    for source in (
        frame,
        table,
        table.to_reader(),
        tmp_path / "rows.parquet",
        tmp_path / "rows.csv",
        str(tmp_path / "rows.npy"),
        np.rec.fromarrays(data.T, names=names),
    ):
        made = build_profile(source)
        assert made.rows == 3_000
        assert [feature.counts for feature in made.features] == [
            feature.counts for feature in expected.features
        ]
        assert made.content_hash.startswith("sha256:")


def test_mixed_columns_with_missing_values(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "age": [30.5, None, 41.0, 30.5],
            "count": pandas.array([1, 2, None, 2], dtype="Int64"),
            "colour": ["red", None, "blue", "red"],
            "flag": [True, False, True, True],
            "kind": pandas.Categorical(["x", "y", "x", None]),
        }
    )
    profile = build_profile(frame)
    by_name = {feature.name: feature for feature in profile.features}
    assert [by_name[name].counts[MISSING] for name in frame.columns] == [1, 1, 1, 0, 1]
    assert by_name["colour"].bins.values == ("red", "blue")
    assert by_name["flag"].bins.values == (0.0, 1.0)
    assert by_name["age"].summary.mean == pytest.approx(34.0)
    assert by_name["age"].summary.maximum == 41.0
    assert by_name["colour"].summary.distinct == 2


def test_a_stream_longer_than_the_sample_keeps_exact_counts_and_moments(monkeypatch) -> None:
    import penstock.monitoring.build as build

    monkeypatch.setattr(build, "SAMPLE_VALUES", 100)
    monkeypatch.setattr(build, "_SAMPLE_ROWS", (500, 500))
    data = RANDOM.lognormal(0, 1, (40_000, 1))
    feature = build_profile(data).features[0]
    assert sum(feature.counts) == 40_000
    assert feature.counts[BELOW] == feature.counts[ABOVE] == 0
    assert feature.summary.mean == pytest.approx(data.mean())
    assert feature.summary.std == pytest.approx(data.std())
    # Quantiles of a sample of 500: no bin is empty or has more than a fifth.
    shares = np.array(feature.counts[: feature.bins.count]) / 40_000
    assert shares.min() > 0
    assert shares.max() < 0.2


def test_a_models_inputs_and_outputs(repository: Path) -> None:
    data = RANDOM.normal(size=(500, 4))
    with penstock.load(repository / "m") as model:
        profile = build_profile(data, model=model)
        profile.check(model.spec)
        answers = model.infer_rows({"x": data.astype(np.float32)})["y"]
    roles = [feature.role for feature in profile.features]
    assert roles == ["input"] * 4 + ["output"] * 3 + ["class"]
    assert all(sum(feature.counts) == 500 for feature in profile.features)
    chosen = profile.features[-1]
    classes, counts = np.unique(answers.argmax(axis=1), return_counts=True)
    assert chosen.bins.values == tuple(classes.astype(float))
    assert list(chosen.counts[: len(classes)]) == counts.tolist()


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (np.zeros((5, 3)), {}, "3 columns came .* expected 4"),
        (np.zeros((5, 5)), {"target": ["nothing"]}, "target column 'nothing' is not there"),
        (np.zeros((0, 4)), {}, "no rows"),
        (np.full((5, 4), np.nan), {"outputs": False}, "column_0.*no finite value"),
        (np.array([["a"] * 4]), {}, "texts"),
        (np.zeros((5, 4)), {"bins": 33}, "33 bins"),
        (np.zeros(5), {}, "shape"),
    ],
)
def test_data_that_do_not_fit_are_refused(repository: Path, data, options, message) -> None:
    with penstock.load(repository / "m") as model, pytest.raises(ProfileError, match=message):
        build_profile(data, model=model, **options)


def test_the_size_of_a_profile_of_50_features() -> None:
    data = RANDOM.lognormal(0, 3, (5_000, 50))
    assert len(build_profile(data).to_json()) <= 100_000


# --- On disk -------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    profile = build_profile(RANDOM.normal(size=(200, 2)))
    profile.save(tmp_path / "profile.json")
    assert ReferenceProfile.load(tmp_path / "profile.json") == profile
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]


def broken(change) -> str:
    made = json.loads(build_profile(RANDOM.normal(size=(200, 2)), names=["a", "b"]).to_json())
    change(made)
    return json.dumps(made)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(format=2), "format 2"),
        (lambda p: p.pop("rows"), "'rows' is nothing"),
        (lambda p: p.update(features=[]), "0 features"),
        (lambda p: p["features"][1].update(role="x"), "'b': role 'x'"),
        (lambda p: p["features"][1].update(counts=[1]), "'b': 1 counts"),
        (lambda p: p["features"][1]["counts"].__setitem__(0, -1), "'b': counts"),
        (lambda p: p["features"][1]["counts"].__setitem__(0, 1.5), "'b': counts"),
        (lambda p: p["features"][1]["edges"].reverse(), "'b': .*ascend"),
        (lambda p: p["features"][1]["edges"].__setitem__(0, None), "'b'"),
        (lambda p: p["features"][1].pop("edges"), "'b': 'values' is nothing"),
        (lambda p: p["features"][1].update(summary={"mean": "x"}), "'b': summary mean"),
        (lambda p: p["features"].__setitem__(0, 7), "feature 0: int"),
    ],
)
def test_a_profile_that_is_wrong_says_where(change, message) -> None:
    with pytest.raises(ProfileError, match=message):
        ReferenceProfile.from_json(broken(change))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"format": 1}'])
def test_what_is_no_profile_is_refused(text) -> None:
    with pytest.raises(ProfileError):
        ReferenceProfile.from_json(text)


def test_a_profile_of_another_model_names_the_feature() -> None:
    def made(**changes) -> ReferenceProfile:
        def change(profile) -> None:
            profile["features"][1] |= {"tensor": "x", "datatype": "FP32"} | changes
            profile["features"][0] |= {"tensor": "x", "datatype": "FP32"}

        return ReferenceProfile.from_json(broken(change))

    made().check(spec())
    with pytest.raises(ProfileError, match="'b' is column 4 of input 'x', which has 4"):
        made(column=4).check(spec())
    with pytest.raises(ProfileError, match="'b' is of input 'z'; the model's are 'x'"):
        made(tensor="z").check(spec())
    with pytest.raises(ProfileError, match="'a' was profiled as FP32; input 'x' is FP64 now"):
        made().check(spec("FP64"))
    with pytest.raises(ProfileError, match="'b' is of output 'x'; the model's are 'y'"):
        made(role="output").check(spec())


def test_a_server_refuses_a_profile_that_does_not_fit(repository: Path) -> None:
    profile = build_profile(RANDOM.normal(size=(100, 4)))
    profile.save(repository / "m/1/profile.json")
    with (
        pytest.raises(penstock.NoModelError) as raised,
        penstock.Server(repository, grpc_port=0, http_port=None),
    ):
        pass
    assert "profile.json: feature 'column_0' is of input 'input'" in raised.value.failures["m"]


# --- The command ---------------------------------------------------------------------------------


def command(*arguments: str) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def test_the_command_writes_beside_the_version(repository: Path, tmp_path: Path, capsys) -> None:
    data = tmp_path / "train.npy"
    np.save(data, RANDOM.normal(size=(300, 4)))
    assert command(str(data), "--model", str(repository / "m")) == 0
    assert "8 features of 300 rows" in capsys.readouterr().out
    made = ReferenceProfile.load(repository / "m/1/profile.json")
    assert made.source == "train.npy"
    # A profile that no longer fits does not stop its successor.
    (repository / "m/1/profile.json").write_text("{}")
    assert command(str(data), "--model", str(repository / "m"), "--no-outputs") == 0
    assert len(ReferenceProfile.load(repository / "m/1/profile.json").features) == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.npy", None, "No such file"),
        ("rows.txt", b"1", "expected a file"),
        ("rows.npy", b"garbage", "rows.npy"),
        ("rows.parquet", b"garbage", "rows.parquet"),
        ("rows.csv", b"", "rows.csv"),
        ("rows.csv", b"a,b\n1,2\n", "2 columns came (a, b), expected 4"),
    ],
)
def test_the_command_says_what_is_wrong(repository, tmp_path, capsys, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert command(str(tmp_path / name), "--model", str(repository / "m")) == 1
    assert message in capsys.readouterr().err

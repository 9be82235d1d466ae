"""Photos with a `labels.csv`: ages and ranges, people, splits, and rows that cannot be used."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from labelled_faces import make_data, portraits, save, variant

from photoage.errors import DataError, UsageError
from photoage.training.dataset import UNKNOWN, Sample, labels_of
from photoage.training.prepare import DataJob, PreparedData, given_splits, prepare
from photoage.training.sampling import draw_weights, set_shares
from photoage.training.sources import read_source, read_sources
from photoage.training.splits import complete_split, read_splits

HEADER = "file,age,age_low,age_high,person,set,split\n"


def labelled(folder: Path, rows: str, header: str = HEADER) -> Path:
    """A data set whose files, named in its rows, are there but empty."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.csv").write_text(header + rows)
    for row in rows.splitlines():
        if (name := row.split(",")[0]).endswith(".jpg"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
    return folder


def test_labels_are_ages_or_ranges_of_people_in_sets(tmp_path: Path) -> None:
    data = labelled(
        tmp_path / "family",
        "a.jpg,57.32,,,anna,prints,train\nold/b.jpg,,10,13,,,val\nc.jpg,5,4,9,,,\n",
    )
    a, b, c = read_source(data, tmp_path).samples
    assert (a.age, a.bounds, a.set, a.person, a.split) == (57.32, (57.32, 57.32), "prints", "anna", "train")
    assert (b.age, b.bounds, b.set, b.name, b.key) == (
        11.5,
        (10, 13),
        "family",
        "old/b.jpg",
        "family/old/b.jpg",
    )
    assert (c.age, c.bounds, c.split) == (5, (4, 9), "")
    assert labels_of([a, b])["gender"].tolist() == [UNKNOWN, UNKNOWN]


def test_an_age_in_whole_years_counts_as_written_though_it_covers_a_year(tmp_path: Path) -> None:
    data = labelled(tmp_path / "family", "a.jpg,5,5,6,,,\nb.jpg,5,5,6.5,,,\nc.jpg,5.5,5,6,,,\n")
    assert [sample.bounds for sample in read_source(data, tmp_path).samples] == [(5, 5), (5, 6.5), (5, 6)]


def test_two_columns_are_enough_and_images_may_lie_in_a_folder_beside_the_labels(tmp_path: Path) -> None:
    data = labelled(tmp_path / "mine", "a.jpg,30\n", "file,age\n")
    (data / "images").mkdir()
    (data / "a.jpg").rename(data / "images" / "a.jpg")
    (sample,) = read_source(data, tmp_path).samples
    assert (sample.path, sample.set) == (data / "images" / "a.jpg", "mine")


def test_rows_that_cannot_be_used_are_named_with_the_reason(tmp_path: Path) -> None:
    data = labelled(
        tmp_path / "family",
        "a.jpg,30,,,,,\nb.jpg,old,,,,,\nc.jpg,,,,,,\nd.jpg,20,30,40,,,\ne.jpg,130,,,,,\nf.jpg,20,19,,,,\n"
        "g.jpg,20,,,,,dev\na.jpg,31,,,,,\n,20,,,,,\nh.jpg,nan,,,,,\n",
    )
    with (data / "labels.csv").open("a") as file:
        file.write("gone.jpg,20,,,,,\nshort.jpg\n")
    source = read_source(data, tmp_path)
    assert [sample.name for sample in source.samples] == ["a.jpg"]
    assert source.malformed == [
        "b.jpg (line 3: age 'old' is not a number of years from 0 to 116)",
        "c.jpg (line 4: has no age)",
        "d.jpg (line 5: age 20 is not within 30 to 40)",
        "e.jpg (line 6: age '130' is not a number of years from 0 to 116)",
        "f.jpg (line 7: has one of age_low and age_high without the other)",
        "g.jpg (line 8: split 'dev' is none of train, val, test)",
        "a.jpg (line 9: is listed above as well)",
        "labels.csv (line 10: names no file)",
        "h.jpg (line 11: age 'nan' is not a number of years from 0 to 116)",
        "gone.jpg (line 12: there is no such file)",
        "short.jpg (line 13: there is no such file)",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,age\na.jpg,3\n", "has no columns file and age"),
        (b"file,age_low\na.jpg,3\n", "has no columns file and age"),
        (b"", "has no columns file and age"),
        (b"file,age\n\xff.jpg,3\n", "not a table in UTF-8"),
        (
            b"file,age\ngone.jpg,3\n",
            r"no usable row in it \(first: gone.jpg \(line 2: there is no such file\)\)",
        ),
    ],
)
def test_a_table_that_is_none_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_source(tmp_path, tmp_path / "cache")


def test_an_archive_names_its_set_and_may_hold_its_labels_in_a_folder(tmp_path: Path) -> None:
    labelled(tmp_path / "albums", "a.jpg,30,,,,,\n")
    archive = tmp_path / "prints.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "albums", "albums")
    (sample,) = read_source(archive, tmp_path / "cache").samples
    assert sample.set == "prints"
    labelled(tmp_path / "both" / "one", "a.jpg,30,,,,,\n")
    labelled(tmp_path / "both" / "two", "a.jpg,30,,,,,\n")
    with pytest.raises(DataError, match=r"several folders in it have a labels\.csv"):
        read_source(tmp_path / "both", tmp_path / "cache")


def test_one_image_cannot_come_from_two_sources(tmp_path: Path) -> None:
    one = labelled(tmp_path / "one", "a.jpg,30,,,,same,\n")
    two = labelled(tmp_path / "two", "a.jpg,30,,,,same,\n")
    with pytest.raises(DataError, match=r"two: same a\.jpg is in .*one as well"):
        read_sources([one, two], tmp_path)
    assert len(read_sources([one, labelled(tmp_path / "three", "a.jpg,30,,,,,\n")], tmp_path)) == 2


# --- splits --------------------------------------------------------------------------------------


def test_splits_come_from_the_labels_first(tmp_path: Path) -> None:
    samples = [
        Sample(Path("a.jpg"), 3, split="val"),
        Sample(Path("b.jpg"), 3, set="s"),
        Sample(Path("c.jpg"), 3),
    ]
    assert given_splits(samples, {"a.jpg": "train", "s/b.jpg": "test"}) == {"a.jpg": "val", "s/b.jpg": "test"}


def test_a_split_that_is_completed_leaves_what_is_given_and_never_parts_a_group() -> None:
    samples = [Sample(Path(f"{i}.jpg"), i % 90) for i in range(300)]
    groups = [i // 3 for i in range(300)]
    given = {"0.jpg": "test", "3.jpg": "val", "4.jpg": "train"}
    splits = complete_split(samples, groups, given)
    assert len(splits) == 300
    assert {key: splits[key] for key in given} == given
    assert [splits[f"{i}.jpg"] for i in (1, 2, 5)] == ["test", "test", "train"]
    for group in range(2, 100):
        assert len({splits[f"{3 * group + i}.jpg"] for i in range(3)}) == 1
    assert {"train", "val", "test"} <= set(splits.values())


def prepared(job: DataJob) -> tuple[PreparedData, list[str]]:
    notices: list[str] = []
    return prepare(job, notices.append, lambda progress: None), notices


def test_people_stay_together_across_data_with_and_without_splits(tmp_path: Path) -> None:
    utkface, family = tmp_path / "utkface", tmp_path / "family"
    names = [path.name for path in make_data(utkface, 4)]
    (tmp_path / "splits.csv").write_text(
        "file,split\n"
        + "".join(f"{n},{s}\n" for n, s in zip(names, ("train", "train", "train", "val"), strict=True))
    )
    family.mkdir()
    rows = []
    for i in range(6):
        save(family / f"{i}.jpg", variant(portraits()[i % 2], 2 + i))
        # Anna's first photo is for validation; the others say nothing, and Bob's need a split.
        rows.append(f"{i}.jpg,{20 + i},,,{('anna', 'bob')[i % 2]},,{'val' if i == 0 else ''}\n")
    (family / "labels.csv").write_text(HEADER + "".join(rows))
    job = DataJob(
        (utkface, family), tmp_path / "cache", tmp_path / "splits.csv", tmp_path / "own.csv", workers=1
    )
    data, notices = prepared(job)
    made = read_splits(job.own_splits)
    assert {made[f"family/{i}.jpg"] for i in (0, 2, 4)} == {"val"}
    assert len({made[f"family/{i}.jpg"] for i in (1, 3, 5)}) == 1
    validating = data.validation(64)
    assert {s.person for s in validating.samples} & {
        s.person for s in data.training.samples if s.person
    } == set()
    assert len(validating.crops) == len(validating.samples)
    assert len(validating.strata) == len(validating.samples)
    assert validating.crops[0].shape == (64, 64, 3)
    assert data.info["sets"]["utkface"] == {"train": 3, "val": 1}
    assert any("own.csv: split made of" in notice for notice in notices)
    again, _ = prepared(DataJob(job.data, job.cache, job.splits, job.own_splits, resume=True, workers=1))
    assert [s.key for s in again.training.samples] == [s.key for s in data.training.samples]


# --- sampling ------------------------------------------------------------------------------------


def test_sets_get_their_shares_and_others_what_is_left() -> None:
    assert set_shares({"big": 100, "small": 4}, {}) == pytest.approx({"big": 10 / 12, "small": 2 / 12})
    shares = set_shares({"big": 100, "small": 4, "own": 9}, {"own": 0.4})
    assert shares == pytest.approx({"big": 0.5, "small": 0.1, "own": 0.4})
    assert set_shares({"a": 1, "b": 5}, {"a": 0.2, "b": 0.2}) == {"a": 0.5, "b": 0.5}
    for given, message in (
        ({"x": 0.1}, "set 'x'"),
        ({"a": 0.7, "b": 0.7}, "sum to 1.4"),
        ({"a": 0, "b": 0}, "0"),
    ):
        with pytest.raises(UsageError, match=message):
            set_shares({"a": 1, "b": 5}, given)


def test_rare_ages_are_drawn_oftener() -> None:
    samples = [Sample(Path(f"{i}.jpg"), 22) for i in range(81)] + [Sample(Path("old.jpg"), 72)]
    assert draw_weights(samples, {}, 0)[-1] == pytest.approx(1 / 82)
    assert draw_weights(samples, {}, 0.5)[-1] == pytest.approx(1 / 10)
    assert draw_weights(samples, {}, 1)[-1] == pytest.approx(1 / 2)

"""What age teachers see, and the ages that this tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from decoded import decode_photo
from labelled_faces import face_network, portraits

from photoage.errors import DataError
from photoage.faces.detector import Detector
from photoage.faces.detector_files import default_detector
from photoage.faces.recogniser import Recogniser, align_face, default_recogniser
from photoage.records import ImageArray
from photoage.training.age_teacher import AgeTeacher, recogniser_teacher
from photoage.training.config import TrainConfig
from photoage.training.dataset import FRAME_MARGIN, FRAME_SIZE, AlignedFaces, Sample
from photoage.training.networks import default_teacher
from photoage.training.taught import (
    TaughtFaces,
    age_loss,
    feature_loss,
    load_taught,
    taught_age_loss,
    teach,
)

CPU = torch.device("cpu")
FRAME = FRAME_SIZE + 2 * FRAME_MARGIN
CONFIG = TrainConfig()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    # As many as there are cores, in each of the processes that test, would wait for each other.
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def frame() -> ImageArray:
    return portraits()[0][18:-18, 18:-18].copy()


def grey_faces(ages: list[float], labels: list[float], persons: list[str]) -> AlignedFaces:
    """Frames that are the brighter the older their face is."""
    frames = np.stack([np.full((FRAME, FRAME, 3), 2 * age, np.uint8) for age in ages])
    samples = [
        Sample(Path(f"{i}.jpg"), label, person=person)
        for i, (label, person) in enumerate(zip(labels, persons, strict=True))
    ]
    return AlignedFaces(samples, frames, [])


def alike(faces: AlignedFaces) -> np.ndarray:
    return np.full(len(faces.samples), 1 / len(faces.samples))


def test_each_teacher_sees_the_face_and_its_mirror_image(tmp_path: Path, frame: ImageArray) -> None:
    network = AgeTeacher(face_network(tmp_path / "network.onnx"), CPU)
    assert (network.size, network.widths) == (32, (3, 5))
    recogniser = recogniser_teacher(default_teacher(), CPU)
    faces = AlignedFaces(
        [Sample(Path(f"{i}_0_0_1.jpg"), 20 + i) for i in range(4)],
        np.stack([frame, frame[:, ::-1], np.roll(frame, 9, axis=1), frame // 2]),
        [],
    )
    taught = teach(faces, alike(faces), [network, recogniser], CONFIG)
    assert taught.widths == (3, 5, 512)
    assert taught.features.shape == (2, 4, 520)
    upright, mirrored = taught.features.astype(np.float32)
    np.testing.assert_allclose(upright[:2], mirrored[1::-1], atol=0.2)
    assert np.abs(upright[0] - upright[2])[8:].mean() > 0.2, "not the same for every face"
    np.testing.assert_allclose(upright[:, :3].mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(upright[:, :3].std(axis=0), 1, atol=0.01)


def test_the_recogniser_is_fed_as_in_a_scan(sample_library: Path) -> None:
    photo = decode_photo(str(sample_library / "people/grace_hopper.jpg")).rgb
    (face,) = Detector(default_detector()).detect(photo)
    crop = align_face(photo, face.landmarks)
    seen = recogniser_teacher(default_teacher(), CPU)(np.stack([crop, crop[:, ::-1]])).sum(axis=0)
    known = Recogniser(default_recogniser()).embed(photo, face.landmarks[None])[0].astype(np.float32)
    assert seen @ known / np.linalg.norm(seen) > 0.999


def test_a_wrong_label_does_not_come_back_as_the_taught_age(tmp_path: Path) -> None:
    """Nor does one that all photos of a person share."""
    rng = np.random.default_rng(0)
    ages = [float(age) for age in rng.integers(5, 90, 300)]
    persons = [f"p{i // 3}" for i in range(300)]
    labels = [*ages[:294], *[80.0] * 6]
    ages = [*ages[:294], *[20.0] * 6]
    faces = grey_faces(ages, labels, persons)
    teacher = AgeTeacher(face_network(tmp_path / "network.onnx"), CPU)
    told = teach(faces, alike(faces), [teacher], CONFIG).ages
    assert np.abs(told - ages)[:294].mean() < 8
    assert told[294:].max() < 40
    again = teach(faces, alike(faces), [teacher], CONFIG).ages
    np.testing.assert_array_equal(told, again)


def test_taught_ages_of_a_set_are_right_on_average(tmp_path: Path) -> None:
    """Prints look older than other photos, to networks that have learnt from both."""
    rng = np.random.default_rng(0)
    looks = [float(age) for age in rng.integers(12, 90, 600)]
    prints = np.arange(600) % 4 == 0
    labels = [look - 5 * is_print for look, is_print in zip(looks, prints, strict=True)]
    faces = grey_faces(looks, labels, [""] * 600)
    sets = ["prints" if is_print else "utkface" for is_print in prints]
    samples = [replace(sample, set=name) for sample, name in zip(faces.samples, sets, strict=True)]
    faces = AlignedFaces(samples, faces.crops, [])
    teacher = AgeTeacher(face_network(tmp_path / "network.onnx"), CPU)
    error = teach(faces, alike(faces), [teacher], CONFIG).ages - labels
    assert abs(error[prints].mean()) < 2
    assert abs(error[~prints].mean()) < 2


def test_faces_of_one_person_teach_nothing(tmp_path: Path) -> None:
    faces = grey_faces([10.0, 20.0], [10.0, 20.0], ["Anna", "Anna"])
    teacher = AgeTeacher(face_network(tmp_path / "network.onnx"), CPU)
    with pytest.raises(DataError, match="all training faces are of one person"):
        teach(faces, alike(faces), [teacher], CONFIG)


def test_what_teachers_said_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "age.taught.npz"
    assert load_taught(path) is None
    said = TaughtFaces(np.ones((2, 3, 4), np.float16), (1, 3), np.arange(3, dtype=np.float32))
    said.save(path)
    kept = load_taught(path)
    assert kept is not None
    np.testing.assert_array_equal(kept.features, said.features)
    np.testing.assert_array_equal(kept.ages, said.ages)
    assert kept.widths == (1, 3)
    path.write_bytes(path.read_bytes()[:100])
    assert load_taught(path) is None


def test_the_student_moves_to_the_taught_age_as_far_as_it_counts() -> None:
    age = torch.tensor([30.0, 30.0, 30.0], requires_grad=True)
    loss = taught_age_loss(age, torch.tensor([35.0, 20.0, 35.0]), torch.tensor([1.0, 0.5, 0.0]), CONFIG)
    torch.autograd.backward(loss)
    assert age.grad is not None
    older, younger, still = age.grad.tolist()
    assert older < 0 < younger < -older
    assert still == 0


def test_every_output_of_a_teacher_counts_alike() -> None:
    features = torch.zeros(2, 5, dtype=torch.float16)
    first, second = torch.zeros(2, 5), torch.zeros(2, 5)
    first[:, :1], second[:, 1:] = 1.0, 1.0
    assert feature_loss(first, features, (1, 4)) == pytest.approx(1.0)
    assert feature_loss(second, features, (1, 4)) == pytest.approx(1.0)


def test_a_label_that_is_a_range_is_silent_inside_it_and_noise_far_off_teaches_nothing() -> None:
    age = torch.tensor([30.0, 34.0, 41.0, 90.0, 90.0], requires_grad=True)
    low, high = torch.tensor([30.0] * 5), torch.tensor([35.0] * 5)
    noisy = torch.tensor([False, False, False, False, True])
    torch.autograd.backward(age_loss(age, low, high, noisy, CONFIG))
    assert age.grad is not None
    assert [float(value) > 0 for value in age.grad] == [False, False, True, True, False]

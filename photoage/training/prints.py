"""Augmentation that makes a crop look like an old print or its scan, and fixed copies to measure with."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from photoage.records import ImageArray

Pixels = npt.NDArray[np.float32]  # (S, S, 3) RGB, 0 to 255, not clipped

SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], dtype=np.float32)
BLACK, WHITE = 70.0, 190.0  # of a faded copy


def old_print(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """`crop` (S, S, 3) uint8 RGB as a family print of some decade: (S, S, 3) uint8 RGB.

    In the order in which a print comes to be: film and paper (tone, blur), age (fading, grain, stains,
    scratches), scanning (moire). Every draw comes from `rng`.
    """
    image = crop.astype(np.float32)
    if rng.random() < 0.65:
        image = _tone(image, rng)
    if rng.random() < 0.35:
        sigma = rng.uniform(0.4, 1.6) * crop.shape[0] / 112
        image = cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float32)
    if rng.random() < 0.7:
        image = _fade(image, rng)
    if rng.random() < 0.5:
        image = _grain(image, rng)
    if rng.random() < 0.25:
        image = _uneven(image, rng)
    if rng.random() < 0.25:
        image = _scratch(image, rng)
    if rng.random() < 0.15:
        image = _moire(image, rng)
    return np.clip(image, 0, 255).astype(np.uint8)


def _tone(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Grey, sepia, or the casts that colour prints take on (their dyes fade at different rates)."""
    kind = rng.random()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    if kind < 0.5:  # film is sensitive to the channels in other shares than the eye is
        shares = rng.dirichlet((3.0, 5.0, 2.0)).astype(np.float32)
        return np.repeat((image @ shares)[:, :, None], 3, axis=2)
    if kind < 0.75:
        strength = np.float32(rng.uniform(0.3, 1.0))
        return np.repeat(grey, 3, axis=2) * (1 - strength) + _sepia(image) * strength
    gains = rng.uniform((0.95, 0.8, 0.65), (1.3, 1.1, 1.05)).astype(np.float32)
    saturation = np.float32(rng.uniform(0.3, 1.0))
    return np.asarray((image * saturation + grey * (1 - saturation)) * gains, dtype=np.float32)


def _sepia(image: Pixels) -> Pixels:
    """Toned brown, as bright as before."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    toned = np.repeat(grey, 3, axis=2) @ SEPIA.T
    return np.asarray(toned * (grey.mean() / max(1.0, float(toned.mean()))), dtype=np.float32)


def _fade(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Black turns grey, white turns yellow or grey, the curve between them flattens."""
    black, white = rng.uniform(0, 90), rng.uniform(150, 255)
    if white - black < 60:
        white = black + 60
    unit = np.clip(image / 255, 0, 1) ** np.float32(math.exp(rng.uniform(-0.4, 0.4)))
    return np.asarray(black + (white - black) * unit, dtype=np.float32)


def _grain(image: Pixels, rng: np.random.Generator) -> Pixels:
    side = image.shape[0]
    coarse = max(8, int(side / rng.uniform(1.0, 2.5)))
    channels = 1 if rng.random() < 0.7 else 3
    noise = rng.standard_normal((coarse, coarse, channels), dtype=np.float32)
    noise = cv2.resize(noise, (side, side), interpolation=cv2.INTER_LINEAR).reshape(side, side, channels)
    return np.asarray(image + noise * np.float32(rng.uniform(3, 18)), dtype=np.float32)


def _uneven(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Stains, faded corners, and flash on a bent print: brightness that changes slowly over the face."""
    side = image.shape[0]
    patches = rng.uniform(-35, 35, (3, 3)).astype(np.float32)
    slow = cv2.resize(patches, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(image + slow[:, :, None], dtype=np.float32)


def _scratch(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A few scratches, and dust."""
    side = image.shape[0]
    image = np.ascontiguousarray(image)
    for _ in range(int(rng.integers(1, 4))):
        level = float(rng.choice([235.0, 250.0, 20.0]))
        start, end = rng.integers(0, side, 2), rng.integers(0, side, 2)
        cv2.line(image, start.tolist(), end.tolist(), (level, level, level), 1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 12))):
        centre = rng.integers(0, side, 2)
        cv2.circle(image, centre.tolist(), int(rng.integers(0, 2)), (240.0, 240.0, 235.0), -1)
    return image


def _moire(image: Pixels, rng: np.random.Generator) -> Pixels:
    """The beat of a scanner with a printed screen or a structured paper."""
    side = image.shape[0]
    angle, period = rng.uniform(0, math.pi), rng.uniform(2.2, 7.0) * side / 112
    y, x = np.mgrid[:side, :side].astype(np.float32)
    along = (x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / period)
    across = (y * math.cos(angle) - x * math.sin(angle)) * (2 * math.pi / period)
    wave = np.sin(along) + (np.sin(across) if rng.random() < 0.6 else 0)
    height = np.float32(rng.uniform(2, 10))
    return np.asarray(image + (wave * height)[:, :, None], dtype=np.float32)


# --- copies to measure with -----------------------------------------------------------------------


def grey_copy(crop: ImageArray) -> ImageArray:
    """(S, S, 3) uint8 RGB without colour."""
    return np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


def sepia_copy(crop: ImageArray) -> ImageArray:
    """(S, S, 3) uint8 RGB in brown."""
    return np.clip(_sepia(crop.astype(np.float32)), 0, 255).astype(np.uint8)


def faded_copy(crop: ImageArray) -> ImageArray:
    """(S, S, 3) uint8 RGB with less than half of its contrast."""
    return (BLACK + crop.astype(np.float32) * ((WHITE - BLACK) / 255)).astype(np.uint8)


# The ways in which `evaluate` changes a crop to see how far its estimate moves.
COPIES: dict[str, Callable[[ImageArray], ImageArray]] = {
    "grey": grey_copy,
    "sepia": sepia_copy,
    "faded": faded_copy,
    "faded grey": lambda crop: faded_copy(grey_copy(crop)),
}

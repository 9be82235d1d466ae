"""Training augmentation of aligned frames. Every draw comes from the generator passed in."""

from __future__ import annotations

import math

import cv2
import numpy as np

from photoage.faces.align import warp
from photoage.records import ImageArray
from photoage.training.dataset import FRAME_MARGIN, FRAME_SIZE

AFFINE_SHARE = 0.7
MAX_ROTATION = math.radians(7)
MAX_LOG_SCALE = 0.06
MAX_SHIFT = 0.025  # of the frame


def augmented_crop(
    frame: ImageArray, geometry: np.ndarray, size: int, rng: np.random.Generator
) -> ImageArray:
    """One random view of a frame.

    `frame` (F, F, 3) uint8 RGB with F = FRAME_SIZE + 2 * FRAME_MARGIN, `geometry` a draw of
    `random_geometry`; returns (size, size, 3). One resampling, then colour, sharpness, JPEG artefacts,
    occlusion.
    """
    crop = warp(frame, geometry, size)
    if rng.random() < 0.6:
        crop = _jitter_colour(crop, rng)
    if rng.random() < 0.1:
        crop = _lose_detail(crop, rng)
    if rng.random() < 0.12:
        quality = int(rng.integers(30, 95))
        _, encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])
        crop = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)
    if rng.random() < 0.08:
        crop = _occlude(crop, rng)
    return crop


def random_geometry(size: int, rng: np.random.Generator) -> np.ndarray:
    """Frame-to-crop matrix (2, 3): mirror half of the time, small rotation, scale and shift."""
    angle, scale, shift = 0.0, size / FRAME_SIZE, np.zeros(2)
    if rng.random() < AFFINE_SHARE:
        angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION)
        scale *= math.exp(rng.uniform(-MAX_LOG_SCALE, MAX_LOG_SCALE))
        shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2) * size
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return _geometry(np.array([[cos, -sin], [sin, cos]]), size, shift, mirrored=rng.random() < 0.5)


def plain_geometry(size: int, mirrored: bool) -> np.ndarray:
    """The matrix (2, 3) of the face as a scan sees it, or of its mirror image."""
    return _geometry(size / FRAME_SIZE * np.eye(2), size, np.zeros(2), mirrored)


def is_mirrored(geometry: np.ndarray) -> bool:
    return bool(np.linalg.det(geometry[:, :2]) < 0)


def _geometry(linear: np.ndarray, size: int, shift: np.ndarray, mirrored: bool) -> np.ndarray:
    if mirrored:
        linear = linear @ np.array([[-1.0, 0.0], [0.0, 1.0]])
    frame_centre = FRAME_MARGIN + (FRAME_SIZE - 1) / 2
    crop_centre = (size - 1) / 2
    offset = crop_centre + shift - linear @ np.array([frame_centre, frame_centre])
    return np.column_stack([linear, offset])


def _jitter_colour(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    gain, saturation = rng.uniform(0.7, 1.3), rng.uniform(0.6, 1.4)
    brightness = rng.uniform(-25, 25)
    if rng.random() < 0.12:
        saturation = 0.0
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)[:, :, None]
    mixed = crop.astype(np.float32) * saturation + grey * (1 - saturation)
    mean = float(grey.mean())
    return np.asarray(np.clip((mixed - mean) * gain + mean + brightness, 0, 255), dtype=np.uint8)


def _lose_detail(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Small or blurred faces, as they come from group photos and old scans."""
    side = crop.shape[0]
    if rng.random() < 0.5:
        sigma = rng.uniform(0.4, 1.5) * side / 112
        return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), dtype=np.uint8)
    small = max(16, int(side * rng.uniform(0.3, 0.8)))
    reduced = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _occlude(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Random erasing (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020)."""
    side = crop.shape[0]
    area, ratio = rng.uniform(0.02, 0.15) * side * side, math.exp(rng.uniform(-1.0, 1.0))
    height = min(side, max(1, int(math.sqrt(area * ratio))))
    width = min(side, max(1, int(math.sqrt(area / ratio))))
    top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
    crop = crop.copy()
    crop[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return crop

"""Make the 8-bit form of a checkpoint: export to ONNX, then static quantisation on training crops.

Method: per-channel weights and per-tensor activations in QDQ form (Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018), by ONNX
Runtime's own tool. Needs onnxscript.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from photoage.ages.checkpoint import CheckpointInfo, int8_path, read_checkpoint_info
from photoage.ages.int8 import INPUT, SOURCE_KEY, Int8Model
from photoage.ages.model import AgeModel, load_model, normalise
from photoage.errors import CheckpointError, DataError
from photoage.faces.detector_files import default_detector
from photoage.files import file_sha256, replacing_path
from photoage.records import ImageArray
from photoage.training.dataset import align_samples
from photoage.training.prepare import given_splits
from photoage.training.sampling import set_shares
from photoage.training.sources import read_sources
from photoage.training.splits import read_splits

CALIBRATION_FACES = 256
BATCH = 32
# Activations beyond this percentile of the calibration are clipped; the extremes alone would decide
# the scale of every other value.
PERCENTILE = 99.995


@dataclass(frozen=True, slots=True)
class QuantiseJob:
    """What to quantise, and the labelled images whose training split calibrates it."""

    checkpoint: Path
    data: tuple[Path, ...]
    cache: Path
    splits: Path | None = None
    faces: int = CALIBRATION_FACES
    seed: int = 0


def quantise(job: QuantiseJob) -> Path:
    """Write the 8-bit ONNX form of a checkpoint beside it; the file appears whole or not at all.

    Raises `CheckpointError` or `DataError`.
    """
    out = int8_path(job.checkpoint)
    info = read_checkpoint_info(job.checkpoint)
    model = load_model(job.checkpoint).eval()
    crops = calibration_crops(job, info.crop_size)
    try:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise CheckpointError("quantising needs onnxscript: pip install onnxscript") from error
    with replacing_path(out) as partial, tempfile.TemporaryDirectory() as folder, _silence():
        exported = Path(folder) / "float.onnx"
        _export(model, info.crop_size, exported)
        quantize_static(
            exported,
            partial,
            _Batches(crops, info),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # 7-bit weights: without VNNI instructions, sums of 8-bit products overflow 16 bits.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # With Relu, a map is rounded after it, once, and not before it as well, half of its range unused.
            # The head, one neuron, stays in float.
            op_types_to_quantize=["Conv", "Relu", "Add", "MaxPool"],
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )
        sha256 = file_sha256(job.checkpoint)
        _sign(partial, sha256)
        _keep_mean(partial, sha256, model, crops, info)
    return out


def calibration_crops(job: QuantiseJob, size: int) -> ImageArray:
    """(N, size, size, 3) uint8 RGB crops of random training faces of every set. Raises `DataError`."""
    samples = [sample for source in read_sources(job.data, job.cache) for sample in source.samples]
    splits = given_splits(samples, {} if job.splits is None else read_splits(job.splits))
    if splits:
        samples = [sample for sample in samples if splits.get(sample.key) == "train"]
    if not samples:
        raise DataError(f"{job.data[0]}: no training image to calibrate with")
    shares = set_shares(Counter(sample.set for sample in samples), {})
    draw, drawn = random.Random(job.seed), []
    for name, share in shares.items():
        of_set = [sample for sample in samples if sample.set == name]
        drawn += draw.sample(of_set, min(len(of_set), math.ceil(job.faces * share)))
    draw.shuffle(drawn)
    return align_samples(drawn, default_detector(), size=size).crops[:]


def _export(model: AgeModel, size: int, path: Path) -> None:
    """The float model as ONNX: normalised crops (n, 3, size, size) to ages (n, 1); batch norms folded."""
    program = torch.onnx.export(
        model.backbone,
        (torch.zeros(2, 3, size, size),),
        dynamo=True,
        input_names=[INPUT],
        output_names=["age"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        verbose=False,
    )
    assert program is not None
    program.save(str(path))


class _Batches:
    """What ONNX Runtime's calibration reads: normalised batches, all as large, then None."""

    def __init__(self, crops: ImageArray, info: CheckpointInfo) -> None:
        whole = len(crops) // BATCH * BATCH or len(crops)
        crops = crops[:whole]
        parts = torch.split(torch.from_numpy(crops), BATCH)
        self._batches = (normalise(part, info.mean, info.std).numpy() for part in parts)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _sign(path: Path, sha256: str) -> None:
    """Record in the ONNX file which checkpoint it was made from, and not where on whose machine."""
    import onnx

    model = onnx.load(str(path))
    for node in model.graph.node:
        node.ClearField("metadata_props")  # the exporter's stack traces, with their paths
    onnx.helper.set_model_props(model, {SOURCE_KEY: sha256})
    onnx.save(model, str(path))


@torch.inference_mode()
def _keep_mean(path: Path, sha256: str, model: AgeModel, crops: ImageArray, info: CheckpointInfo) -> None:
    """Give the last layer's bias what 8 bits change of the mean age of the faces that calibrate.

    Bias correction as in Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
    Correction", ICCV 2019, of the last layer alone.
    """
    import onnx

    quantised = Int8Model(path, sha256, torch.get_num_threads())
    batches = [normalise(part, info.mean, info.std) for part in torch.split(torch.from_numpy(crops), BATCH)]
    lost = torch.cat([model(batch) - quantised(batch) for batch in batches]).mean()
    proto = onnx.load(str(path))
    bias = proto.graph.node[-1].input[2]
    stored = next(value for value in proto.graph.initializer if value.name == bias)
    corrected = onnx.numpy_helper.to_array(stored) + lost.numpy()
    stored.CopyFrom(onnx.numpy_helper.from_array(corrected, bias))
    onnx.save(proto, str(path))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter and the calibration print and log their progress; the library stays silent."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)

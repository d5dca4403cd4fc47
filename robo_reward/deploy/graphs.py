"""Networks as files that other programs run: ONNX and TorchScript from one trace, checked against each other."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

TOLERANCE = 1e-4
"""Largest difference between torch's and onnxruntime's numbers that is rounding."""
OPSET = 17


def write_graph(
    module: nn.Module, example: Sequence[torch.Tensor], inputs: Sequence[str], outputs: Sequence[str], path: Path
) -> dict[str, float | str]:
    """Write `path`.onnx and `path`.ts, and run the first beside the module.

    Args:
        module: the network.
        example: its inputs; the first axis is the batch, which the files leave open.
        inputs, outputs: their names, in order.
        path: without suffix; the folder is there.

    Returns:
        onnx_sha256, and max_difference: the largest difference of the two on the example, and on a batch twice as big.

    Raises:
        ValueError: they differ by more than rounding.
    """
    import onnx
    import onnxruntime

    module, file = module.eval(), path.with_suffix(".onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that are constants here
        traced = torch.jit.trace(module, tuple(example), check_trace=False)
        torch.jit.save(torch.jit.freeze(traced), path.with_suffix(".ts"))
        torch.onnx.export(
            traced, tuple(example), file, input_names=list(inputs), output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    onnx.checker.check_model(onnx.load(file))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (example, [torch.cat([value, value]) for value in example]):
        with torch.inference_mode():
            wanted = module(*batch)
        feed = {name: value.numpy() for name, value in zip(inputs, batch, strict=True)}
        for name, own, other in zip(outputs, wanted, session.run(list(outputs), feed), strict=True):
            difference = float(np.abs(own.numpy().astype(np.float64) - other).max())
            if not difference <= TOLERANCE:
                raise ValueError(
                    f"{file}: output {name} differs by {difference:.2g} from torch's, more than {TOLERANCE}: this "
                    "version of torch or onnxruntime computes another thing, use those of requirements/"
                )
            worst = max(worst, difference)
    return {"onnx_sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "max_difference": worst}

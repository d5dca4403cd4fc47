"""Makes `import torchvision` work beside a CPU build of torch.

The torchvision wheels of the package index are built for CUDA torch. On CPU torch their compiled library does not load,
and then the import itself fails with "operator torchvision::nms does not exist", which takes LeRobot and the image
processors of transformers down with it. Declaring the two operators' schemas cures the import; the compiled operators
themselves stay unusable, and nothing in this project calls them.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: Any = None  # torch's Library, which un-registers its operators when it is collected


def cure() -> bool:
    """Declare the missing operators; call it before the first import of torchvision.

    Returns: True if the operators had to be declared, False where torchvision's own library provides them or
    torchvision is not installed. Calling it again is harmless.
    """
    global _declared
    import torch
    from torch import library as operators

    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations or hasattr(torch.ops.torchvision, "nms"):
        return False
    # Load the compiled library first, as torchvision will: declaring an operator that it then declares too is fatal.
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        compiled = Path(next(iter(spec.submodule_search_locations))) / f"_C{suffix}"
        if compiled.exists():
            try:
                torch.ops.load_library(str(compiled))
                return False
            except OSError:  # built for another torch: the case this module is for
                break
    _declared = operators.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        _declared.define(schema)
    return True

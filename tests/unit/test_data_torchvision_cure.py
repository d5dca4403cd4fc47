"""torchvision's wheel of the package index imports beside a CPU torch."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

PROGRAM = """
import json
from robo_reward.data.torchvision_cure import cure
declared = cure()
import torch, torchvision
from torchvision.transforms import v2
resized = v2.Resize(8)(torch.zeros(3, 16, 16))
print(json.dumps([declared, cure(), hasattr(torch.ops.torchvision, "nms"), list(resized.shape)]))
"""


def test_torchvision_imports_after_the_cure_which_acts_once():
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs torch and torchvision")
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    _, again, operators, shape = json.loads(answer.stdout)
    assert not again and operators and shape == [3, 8, 8]

"""`transformers serve` where torchvision needs its cure, and a tiny random model that answers in the right form.

python -m robo_reward.testing.transformers_serve FOLDER --port 8000
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from robo_reward.data.torchvision_cure import cure
from robo_reward.testing.tiny_vlm import build_vlm


def build_answering_vlm(folder: Path) -> Path:
    """A tiny random model whose generation is biased until it says <score>+N%</score>; the pictures choose the digit.

    Returns: the folder.
    """
    build_vlm(folder)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ways = [tokenizer(f"<score>+{digit}%</score>", add_special_tokens=False)["input_ids"] for digit in range(1, 10)]
    end = tokenizer.eos_token_id
    # Each token follows from all before it, ever more strongly: the longest beginning that is there wins.
    bias = {tuple([*way, end][: n + 1]): 50.0 * (n + 1) for way in ways for n in range(len(way) + 1)}
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text()) | {"sequence_bias": [[list(ids), value] for ids, value in bias.items()]}
    path.write_text(json.dumps(settings))
    return folder


def main() -> None:
    """The words of the command line are those of `transformers serve`."""
    if cure():  # its compiled picture decoder is missing too
        from torchvision.transforms.functional import pil_to_tensor
        from transformers import image_processing_backends, image_utils

        def decoded(image: str, timeout: float | None = None) -> Any:
            return pil_to_tensor(image_utils.load_image(image, timeout))

        image_processing_backends.load_image_as_tensor = decoded
    from transformers.cli.transformers import main as transformers

    sys.argv = ["transformers", "serve", *sys.argv[1:]]
    transformers()


if __name__ == "__main__":
    main()

"""Which extra brings which optional package, so that a missing one is answered with the command that installs it."""

from __future__ import annotations

EXTRA_OF = {
    "torch": "learn",
    "safetensors": "learn",
    "tensorboard": "learn",
    "scipy": "learn",
    "matplotlib": "learn",
    "PIL": "learn",
    "cv2": "learn",
    "mujoco": "sim",
    "av": "sim",
    "robosuite": "robosuite",
    "cyclonedds": "robot",
    "lerobot": "lerobot",
    "datasets": "lerobot",
    "pyarrow": "lerobot",
    "h5py": "lerobot",
    "transformers": "vlm",
    "tokenizers": "vlm",
    "huggingface_hub": "vlm",
    "peft": "vlm",
    "accelerate": "vlm",
    "mcap": "bags",
    "aiohttp": "console",
    "prometheus_client": "serve",
    "torchvision": "lerobot",
    "torchcodec": "lerobot",
    "diffusers": "lerobot",
    "imageio": "lerobot",
    "serial": "lerobot",
    "grpc": "async",
    "google": "async",
    "ray": "ray",
    "wandb": "wandb",
    "websockets": "remote",
    "msgpack": "remote",
    "rerun": "rerun",
    "onnx": "export",
    "onnxruntime": "export",
}
"""Import name -> extra of pyproject.toml."""


def missing_extra(error: ImportError) -> str | None:
    """The line for a user whose installation lacks an optional package; None when it is no such package."""
    module = (error.name or "").split(".")[0]
    if module not in EXTRA_OF:
        return None
    return f"this needs the package '{module}', which is not installed: pip install 'robo_reward[{EXTRA_OF[module]}]'"

"""What sharing saves a vision-language reward model: one call a pair, batches, and features and beginnings kept.

    python scripts/bench_vlm.py [--quick] [--note "what ran beside it"] [--device cuda --model 3b|8b|4b_2|8b_2]

Adds its figures to docs/results/vlm.json. Weights are random, which the speed does not notice, and the model has the
released architecture in a size that a processor core can run. All of a tracker's questions about one episode are asked
in three ways: `single`, each in a call of its own, nothing kept; `batched`, several a call, nothing kept; `cached`, as
`reward=grm` asks. The last one once in the released order of the question and once with the rules in front.

`bound` is what the token counts allow: the floating-point operations of `single` over those of `cached`, from the
tokens, patches and attended positions that each sends through the model. `share_of_token_bound` is the measured ratio
over that bound, of the released order; it can exceed 1, since the bound leaves out the pictures' scaling and the vision
tower's attention, which are saved too. `token_bound_at_3b` and `_at_8b` are the same counts at the sizes of the
released models. With `--device cuda` those sizes are measured in bfloat16, and the time for 100 videos of 75 s at one
frame a second.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robo_reward.progress.models.grm import GrmModel, GrmSettings
from robo_reward.progress.models.vlm_files import Vlm, load_vlm
from robo_reward.progress.models.vlm_questions import Work
from robo_reward.progress.tracker import hop_rows
from robo_reward.runtime.run_folder import git_revision, write_atomic
from robo_reward.testing.tiny_vlm import SMALL, build_vlm, local_processor, random_model
from robo_reward.types import HopQuery

RESULT = Path(__file__).parents[1] / "docs" / "results" / "vlm.json"
TASK, VIEWS, HEIGHT, WIDTH = "insert the peg into the red socket", ("front", "side", "wrist"), 240, 320


def shape(
    hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, vocabulary: int, *,
    head: int | None = None, tied: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """The language half of a model; `head`: width of an attention head where it is given and not hidden / heads."""
    own = {"head_dim": head} if head else {}
    section = [24, 20, 20] if head else [16, 24, 24]
    return {
        "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers, "vocab_size": vocabulary,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "tie_word_embeddings": tied,
        "max_position_embeddings": 8192, **own,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": section},
    }  # fmt: skip


RELEASED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "3b": ("qwen2_5_vl", shape(2048, 11008, 36, 16, 2, 151_936), {"depth": 32, "hidden_size": 1280, "num_heads": 16,
           "intermediate_size": 3420, "fullatt_block_indexes": [7, 15, 23, 31]}),
    "8b": ("qwen2_5_vl", shape(3584, 18944, 28, 28, 4, 152_064, tied=False), {"depth": 32, "hidden_size": 1280,
           "num_heads": 16, "intermediate_size": 3420, "fullatt_block_indexes": [7, 15, 23, 31]}),
    "4b_2": ("qwen3_vl", shape(2560, 9728, 36, 32, 8, 151_936, head=128), {"depth": 24, "hidden_size": 1024,
             "num_heads": 16, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]}),
    "8b_2": ("qwen3_vl", shape(4096, 12288, 36, 32, 8, 151_936, head=128, tied=False), {"depth": 27,
             "hidden_size": 1152, "num_heads": 16, "intermediate_size": 4304,
             "deepstack_visual_indexes": [8, 16, 24]}),
}  # fmt: skip
"""Shapes of Qwen2.5-VL 3B and 7B and Qwen3-VL 4B and 8B, which the released reward models have."""
VIDEOS, SECONDS = 100, 75
"""The published measurement: 31.7 min for GRM-8B, 46 s for Robometer-4B, on one H100."""


@dataclass(frozen=True)
class Timed:
    """One way of asking."""

    seconds: float
    cpu_s: float
    work: Work


def episode_query(frames: int, seed: int) -> HopQuery:
    """A tracker's questions about an episode of so many frames, with one reference."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 256, (frames + 2, 3, HEIGHT // 20, WIDTH // 20, 3), dtype=np.uint8)
    pool = {view: low[:, i].repeat(20, 1).repeat(20, 2) for i, view in enumerate(VIEWS)}
    now = np.arange(2, frames + 2)
    rows = hop_rows(1, np.maximum(now - 1, 2), now)
    return HopQuery(pool, *rows, (TASK,) * len(rows[0]))


def ask(vlm: Vlm, query: HopQuery, settings: GrmSettings, reuse: bool) -> Timed:
    """All questions of the query, with nothing remembered from before."""
    model = GrmModel(vlm, settings, reuse)
    model.hop(episode_query(1, 99))  # tokenises the question
    model = GrmModel(vlm, settings, reuse)
    wall, cpu = time.perf_counter(), time.process_time()
    model.hop(query)
    if vlm.device.type == "cuda":
        torch.cuda.synchronize()
    return Timed(time.perf_counter() - wall, time.process_time() - cpu, model.asker.work)


def operations(vlm: Vlm, work: Work) -> float:
    """Floating-point operations of so much work: two for each weight a token meets, and the attention.

    The vision tower's own attention is left out (it looks within windows, or one picture).
    """
    text = vlm.model.config.get_text_config()
    language = sum(p.numel() for n, p in vlm.model.model.language_model.named_parameters() if "embed" not in n)
    vision = sum(p.numel() for n, p in vlm.model.model.visual.named_parameters() if "merger" not in n)
    merger = sum(p.numel() for n, p in vlm.model.model.visual.named_parameters() if "merger" in n)
    merged = vlm.processor.image_processor.merge_size**2
    attention = 4 * text.num_hidden_layers * text.num_attention_heads * (
        getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    )  # fmt: skip
    return 2.0 * language * work.tokens + attention * work.attended + 2.0 * (vision + merger / merged) * work.patches


def measure(vlm: Vlm, frames: int, batch: int, repeats: int) -> dict[str, Any]:
    """The three ways on the same questions, in turn, and what the token counts say of them."""
    settings = GrmSettings("random", views=VIEWS, batch=batch, answer_mass=0.0)
    ways = {
        "single": (replace(settings, batch=1), False),
        "batched": (settings, False),
        "cached": (settings, True),
        "cached_rules_first": (replace(settings, order="rules_first"), True),
    }
    query = episode_query(frames, 0)
    found = {name: ask(vlm, query, *way) for name, way in ways.items()}
    for _ in range(repeats - 1):
        for name, way in ways.items():
            again = ask(vlm, query, *way)
            found[name] = min(found[name], again, key=lambda timed: timed.cpu_s)
    single, cached = found["single"], found["cached"]
    bound = operations(vlm, single.work) / operations(vlm, cached.work)
    reordered = operations(vlm, single.work) / operations(vlm, found["cached_rules_first"].work)
    out: dict[str, Any] = {
        "parameters": sum(p.numel() for p in vlm.model.parameters()),
        "questions": len(query), "distinct_questions": single.work.questions, "frames": frames,
        "ratio_batched_over_single": single.cpu_s / found["batched"].cpu_s,
        "ratio_cached_over_single": single.cpu_s / cached.cpu_s,
        "token_bound": bound,
        "share_of_token_bound": single.cpu_s / cached.cpu_s / bound,
        "ratio_rules_first_over_single": single.cpu_s / found["cached_rules_first"].cpu_s,
        "token_bound_rules_first": reordered,
        "share_of_token_bound_rules_first": single.cpu_s / found["cached_rules_first"].cpu_s / reordered,
    }  # fmt: skip
    for name in ("3b", "8b") if vlm.architecture == "qwen2_5_vl" else ():
        with torch.device("meta"):
            large = released(name)
        costs = {way: operations(large, timed.work) for way, timed in found.items()}
        out[f"token_bound_at_{name}"] = costs["single"] / costs["cached"]
        out[f"token_bound_rules_first_at_{name}"] = costs["single"] / costs["cached_rules_first"]
    for name, timed in found.items():
        out |= {
            f"{name}_frames_per_s": frames / timed.cpu_s,
            f"{name}_ms_per_question": 1e3 * timed.cpu_s / timed.work.questions,
            f"{name}_tokens": timed.work.tokens, f"{name}_patches": timed.work.patches,
        }  # fmt: skip
    return out


def latency(vlm: Vlm, batch: int, queries: int) -> dict[str, float]:
    """A live tracker's query: one new frame, four questions, the references and the last frame known or not."""
    settings = GrmSettings("random", views=VIEWS, batch=batch, answer_mass=0.0)
    out = {}
    for name, reuse in {"uncached": False, "cached": True}.items():
        model, query, taken = GrmModel(vlm, settings, reuse), episode_query(queries + 1, 1), []
        for n in range(queries + 1):
            rows = slice(4 * n, 4 * n + 4)
            part = replace(
                query, instruction_B=query.instruction_B[rows],
                before_B=query.before_B[rows], after_B=query.after_B[rows],
                reference_start_B=query.reference_start_B[rows], reference_goal_B=query.reference_goal_B[rows],
            )  # fmt: skip
            begin = time.process_time()
            model.hop(part)
            taken.append(time.process_time() - begin)
        out[f"live_query_{name}_ms"] = 1e3 * float(np.median(taken[1:]))
    return out


def released(name: str) -> Vlm:
    """A released shape with random weights in bfloat16, on torch's default device."""
    architecture, text, vision = RELEASED[name]
    processor = local_processor(architecture, SMALL.vocabulary)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = random_model(architecture, processor, text, {**vision, "out_hidden_size": text["hidden_size"]})
    finally:
        torch.set_default_dtype(before)
    return Vlm(model.eval(), processor, architecture, "random", "bfloat16")


def on_gpu(name: str) -> dict[str, Any]:
    """A released shape: rows for a GPU."""
    with torch.device("cuda"):
        vlm = released(name)
    row = measure(vlm, frames=24, batch=16, repeats=2)
    settings = GrmSettings("random", views=VIEWS, batch=16, answer_mass=0.0)
    taken = ask(vlm, episode_query(SECONDS, 3), settings, True).seconds
    row["minutes_for_100_videos_of_75_s"] = VIDEOS * taken / 60
    return {f"gpu_{name}_{key}": value for key, value in row.items()} | {"gpu": torch.cuda.get_device_name()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, and nothing is written")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--model", default="3b", choices=tuple(RELEASED), help="with --device cuda")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.device == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit("bench_vlm.py: torch sees no GPU here, leave --device out")
        result = on_gpu(arguments.model)
    else:
        with tempfile.TemporaryDirectory() as folder:
            vlm = load_vlm(str(build_vlm(folder, "qwen2_5_vl", SMALL)), device="cpu")
        result = measure(vlm, 2, 4, 1) if arguments.quick else measure(vlm, 6, 6, 1) | latency(vlm, 6, 2)
    result = {key: round(value, 6) if isinstance(value, float) else value for key, value in result.items()}
    about = {"bench_command": "python scripts/bench_vlm.py", "bench_git_revision": git_revision(),
             "bench_date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "bench_threads": 1,
             "bench_cores": len(os.sched_getaffinity(0)), "bench_note": arguments.note}  # fmt: skip
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    rows = {f"gpu_{name}": "not run here" for name in RELEASED if not any(k.startswith(f"gpu_{name}_") for k in known)}
    text = json.dumps({**known, **rows, **result, **about}, indent=1)
    print(text)
    if not arguments.quick:
        write_atomic(RESULT, text + "\n")


if __name__ == "__main__":
    main()

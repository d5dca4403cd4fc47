"""One episode's reward, term by term, aligned with its video: a page in a single file, without network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Float

from robo_reward.evaluation.plots import TIME_AXIS, reward_terms
from robo_reward.evaluation.report_style import CSS
from robo_reward.shaping import SCHEMES
from robo_reward.types import Episode, Progress

PERSPECTIVES = ("incremental", "forward", "backward")
STYLE = """
.stage{position:sticky;top:0;background:#fff;z-index:1;padding-bottom:6px}
.stage video{max-width:760px;margin:0 auto}
.plots{position:relative;cursor:crosshair}.plots img{width:100%;display:block}
.now{position:absolute;top:0;bottom:0;width:1px;background:#20262e;pointer-events:none}
"""
SCRIPT = """
const video=document.querySelector('video'),plots=document.querySelector('.plots'),now=document.querySelector('.now');
const [low,high]=[LOW,HIGH],length=LENGTH;
function draw(){
  const share=Math.min(video.currentTime/length,1);
  now.style.left=100*(low+(high-low)*share)+'%';
  requestAnimationFrame(draw);
}
plots.onclick=event=>{
  const box=plots.getBoundingClientRect(),share=((event.clientX-box.left)/box.width-low)/(high-low);
  video.pause();
  video.currentTime=length*Math.min(Math.max(share,0),1);
};
draw();
"""


def terms_of(
    episode: Episode, phi: Float[np.ndarray, "T+1"], gamma: float
) -> dict[str, tuple[str, Float[np.ndarray, "T"]]]:
    """What each way to use a potential adds at every step of an episode: name -> (formula, values).

    The sparse reward is the task's own; the others come on top of it, so the shaped reward is the sum of the first two.
    """
    steps = len(episode)
    pair, one = np.stack([phi[:-1], phi[1:]], axis=1).astype(float), np.ones(steps, dtype=np.int64)
    ended = np.append(np.zeros(steps - 1, dtype=bool), episode.terminated)
    nothing = np.zeros(steps)
    return {
        "sparse": ("r", episode.reward.astype(float)),
        "shaping": (
            "\u03b3\u03a6(s\u2032)(1 \u2212 terminated) \u2212 \u03a6(s)",
            np.asarray(SCHEMES["potential"](nothing, pair, one, ended, gamma=gamma)),
        ),
        "naive difference": (
            "\u03a6(s\u2032) \u2212 \u03a6(s)",
            np.asarray(SCHEMES["naive"](nothing, pair, one, ended, gamma=gamma)),
        ),
        "absolute": ("\u03a6(s\u2032)", pair[:, 1]),
    }


def write_reward_page(
    path: Path,
    episode: Episode,
    phi: Float[np.ndarray, "T+1"],
    video: Path,
    *,
    gamma: float,
    fps: float,
    progress: Sequence[Progress] = (),
    title: str = "",
) -> Path:
    """Write the page.

    Args:
        path: the .html file.
        episode: its rewards and, if known, the simulator's progress; frames are not needed.
        phi: the potential of each observation.
        video: the episode's film, one frame an observation, which goes into the page.
        gamma: discount a step, in (0, 1].
        fps: steps a second.
        progress: what a tracker said of each observation; its three perspectives are drawn.
        title: plain text.

    Returns:
        The path written.
    """
    potential = {"potential": phi} | ({} if episode.oracle is None else {"simulator's own progress": episode.oracle})
    panels: dict[str, Mapping[str, np.ndarray]] = {"progress \u03a6": potential}
    if progress:
        panels["the tracker's perspectives"] = {
            name: np.array([getattr(p, name) for p in progress]) for name in PERSPECTIVES
        }
    discount = gamma ** np.arange(len(episode))
    for name, (formula, values) in terms_of(episode, phi, gamma).items():
        sums = f"sum {values.sum():+.2f}, discounted {(discount * values).sum():+.2f}"
        panels[f"{name}: {formula}   ({sums})"] = {name: values}
    svg = base64.b64encode(reward_terms(panels, seconds_per_step=1 / fps).encode()).decode()
    film = base64.b64encode(Path(video).read_bytes()).decode()
    script = SCRIPT
    for word, value in (("LOW", TIME_AXIS[0]), ("HIGH", TIME_AXIS[1]), ("LENGTH", len(episode) / fps)):
        script = script.replace(word, f"{value:g}")
    note = (
        "The line follows the film; click on the curves to go there. The discounted sum of the shaping follows from "
        "the episode's first and last potential alone. Those of the naive difference and of the absolute potential "
        "depend on the way in between, and so change what pays."
    )
    path.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}{STYLE}</style></head><body>"
        f"<header><h1>{escape(title)}</h1></header><main><section>"
        f'<div class="stage"><video controls muted playsinline src="data:video/mp4;base64,{film}"></video></div>'
        f'<div class="plots"><img alt="each reward term over time" src="data:image/svg+xml;base64,{svg}">'
        f'<div class="now"></div></div><p class="note">{note}</p></section></main>'
        f"<script>{script}</script></body></html>\n",
        encoding="utf-8",
    )
    return path

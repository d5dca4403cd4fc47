"""Annotate every stored episode by another reward model and propose it to the run that learns from the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robo_reward.data.store import TransitionStore, find_store
from robo_reward.data.tracks import Choice, TrackStore
from robo_reward.terminal import progress

BATCH = 16
"""Episodes whose hop questions go to the reward model together."""


def reannotate(store: str | Path, reward: str | Path, quiet: bool = False) -> dict[str, Any]:
    """Write the tracks of all complete episodes, those that come in meanwhile too, then propose the model.

    A run that is using the store goes over to the model between two rollouts; the episodes it has added by then it
    annotates itself. Interrupted, it goes on with the episodes that are missing.

    Args:
        store: a transition store, or the folder of a run's training stage.
        reward: folder of a trained reward model (`robo-reward train-reward` prints it).

    Raises:
        FileNotFoundError, ValueError: no such store or reward model, or episodes without the frames it needs.
    """
    from robo_reward.progress.scorer import load_scorer

    trained = load_scorer(reward)
    model_id = trained.track_id
    source, tracks = TransitionStore(find_store(store)), TrackStore(find_store(store).parent / "tracks")
    known, written = tracks.read(model_id), 0
    while missing := [e.episode_id for e in source.episodes() if e.episode_id not in known]:
        batches = [missing[i : i + BATCH] for i in range(0, len(missing), BATCH)]
        for names in progress(batches, len(batches), "annotate", quiet):
            episodes = [source.read(name) for name in names]
            fresh = dict(zip(names, trained.annotate(episodes), strict=True))
            tracks.write(model_id, fresh)
            known |= fresh
            written += len(fresh)
        source.refresh()
    tracks.propose(Choice(model_id, str(Path(reward).resolve())))
    tracks.close()
    return {"annotated_episodes": len(known), "newly_annotated_episodes": written, "reward_model_id": model_id}

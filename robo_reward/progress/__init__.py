"""Progress of an episode: labels, hop algebra, pairs, fusion, tracker, completion, training."""

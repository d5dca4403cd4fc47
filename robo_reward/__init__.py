"""robo_reward: from demonstrations to a process reward model, a shaped reward and a better policy."""

__version__ = "0.1.0"

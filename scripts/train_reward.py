"""`python scripts/train_reward.py [setting=value ...]`: the same as `robo-reward train-reward`."""

import sys

from robo_reward.cli import main

if __name__ == "__main__":
    main(["train-reward", *sys.argv[1:]])

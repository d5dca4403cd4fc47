"""`python scripts/train.py [setting=value ...]`: the same as `robo-reward train`."""

import sys

from robo_reward.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])

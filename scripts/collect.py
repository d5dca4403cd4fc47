"""`python scripts/collect.py [setting=value ...]`: the same as `robo-reward collect`."""

import sys

from robo_reward.cli import main

if __name__ == "__main__":
    main(["collect", *sys.argv[1:]])

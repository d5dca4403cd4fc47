"""`python scripts/evaluate.py [setting=value ...]`: the same as `robo-reward evaluate`."""

import sys

from robo_reward.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])

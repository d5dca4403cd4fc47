"""What stands between an action and an arm: numpy only."""

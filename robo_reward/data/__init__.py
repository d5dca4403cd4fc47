"""Episodes on disk: LeRobot datasets, videos and keyframe files, all as numpy."""

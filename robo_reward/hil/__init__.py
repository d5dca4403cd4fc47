"""A person in the loop: who moves the arm at each step, how an episode is run and judged, and a simulated operator."""

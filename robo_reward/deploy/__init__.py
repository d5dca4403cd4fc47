"""What goes to the robot's computer: trained policy and reward model as graphs, and their readers without torch."""

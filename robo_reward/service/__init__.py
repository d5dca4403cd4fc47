"""A reward model as a service for other processes and machines."""

"""What the environment may set."""

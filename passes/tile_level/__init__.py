"""What passes on tile programs share: their states, dependencies and times."""

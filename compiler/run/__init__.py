"""Running compiled programs: executables, sessions, profiles."""

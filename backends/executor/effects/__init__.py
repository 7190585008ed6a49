"""Instructions bound to memory: functions that do what they say."""

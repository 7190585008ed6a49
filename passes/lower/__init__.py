"""Ntile to nisa: addresses, semaphores, instruction streams."""

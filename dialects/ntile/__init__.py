"""The ntile dialect: programs of tiles in SBUF, PSUM and device memory, and their text."""

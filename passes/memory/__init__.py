"""Where buffers lie in SBUF, PSUM and device memory, and what is spilled."""

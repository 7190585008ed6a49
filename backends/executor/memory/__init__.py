"""SBUF, PSUM and device memory as byte arrays."""

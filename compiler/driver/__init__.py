"""The pipeline of passes and the compile that runs it."""

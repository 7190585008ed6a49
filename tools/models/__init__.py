"""Example models, each a function a user could have written."""

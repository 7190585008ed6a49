"""One program becomes the programs of several cores."""

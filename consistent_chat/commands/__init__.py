"""What the command line does, as functions that need no terminal."""

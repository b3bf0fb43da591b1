"""The commands of the command line as functions that need no terminal."""

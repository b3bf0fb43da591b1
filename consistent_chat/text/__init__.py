"""Text that comes from files, servers and models, made safe to show."""

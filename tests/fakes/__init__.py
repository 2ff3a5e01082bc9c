"""Stand-ins for parts that a test wants to watch or to hold still."""

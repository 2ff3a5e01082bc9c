"""What people see of a running server in a terminal: ``penstock watch``."""

"""The control plane on an engine and a repository of plain objects."""

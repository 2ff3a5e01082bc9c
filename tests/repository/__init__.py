"""Repositories on disk: from config.pbtxt to what is served."""

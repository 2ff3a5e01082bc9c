"""Where people look: the page, the terminal, the dashboard and the alerts."""

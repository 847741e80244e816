"""Tables and progress displays for the terminal."""

"""Studies made with clbench: users of its public names, kept in the repository and left out of the wheel."""

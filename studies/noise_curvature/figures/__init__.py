"""The paper's figures, and two more on what it leaves open."""

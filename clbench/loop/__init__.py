"""The loop that every run goes through: (environment, agent) -> events. No files, no printing."""

from clbench.loop.loop import Event as Event
from clbench.loop.loop import Loop as Loop
from clbench.loop.members import Member as Member

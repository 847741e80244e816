"""The known learners, each a short file on one vectorised `Learner`."""

import clbench.agents  # noqa: F401 - in a clone, where it makes `agents.l2` the module `clbench.agents.l2`

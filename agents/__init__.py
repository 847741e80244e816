"""The known learners, each a short file on one vectorised `Learner`."""

"""Streams: sequences of labelled data sets, for S seeds in lockstep."""

from clbench.streams.base import Batch as Batch
from clbench.streams.base import Stream as Stream
from clbench.streams.base import Task as Task

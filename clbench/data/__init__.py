"""Labelled data for streams: MNIST from two sources, held once per process."""

from clbench.data.labelled import LabelledData as LabelledData
from clbench.data.sources import SOURCES as SOURCES
from clbench.data.sources import load_images as load_images

"""The metrics of `fields.metrics`, under the path that others use."""

from .fields.metrics import *  # noqa: F403

"""The metrics of `fields`, under the path that others use."""

from .fields.attractor import correlation_dimension as correlation_dimension
from .fields.attractor import occupation_divergence as occupation_divergence
from .fields.attractor import orthogonal_modes as orthogonal_modes
from .fields.attractor import smape as smape
from .fields.attractor import spectral_distance as spectral_distance
from .fields.dynamics import dmd_forecast as dmd_forecast
from .fields.dynamics import largest_lyapunov as largest_lyapunov
from .fields.dynamics import residual_modes as residual_modes
from .fields.metrics import *  # noqa: F403

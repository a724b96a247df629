"""Where sharded parameters can be tested at all."""

import pytest
import torch
from packaging.version import Version

NEEDS_SHARDS = pytest.mark.skipif(
    Version(torch.__version__) < Version("2.9"), reason="torch 2.8 shards wrongly on a CPU"
)

"""Face age estimates for whole photo libraries, stored in a local database."""

import os

__version__ = "0.1.0"

# onnxruntime reports its use to its maker over the network unless this is set before it is loaded.
# Here, whatever part of photoage loads it first is covered, and worker processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

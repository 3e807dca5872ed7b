import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
# Child processes must find the fault knobs too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
)
# On few shared cores, threads that spin while they wait make each other many times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

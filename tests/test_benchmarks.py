"""What a lent GPU is used for runs here in miniature, so that it works when there is one."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.real
@pytest.mark.parametrize("shape", ["sd15", "sdxl"])
def test_cost_tables_of_shrunk_families(tmp_path, shape):
    out = tmp_path / "cost.csv"
    command = [sys.executable, "benchmarks/cost_table.py", "--shape", shape, "--shrink",
               "--out", str(out), "--most"]
    for most in ("1", "2"):
        subprocess.run([*command, most], cwd=ROOT, check=True)
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        # The second time goes on where the first one stopped.
        assert len(rows) == int(most)
    for row in rows:
        assert float(row["seconds"]) > 0
        assert int(row["peak_memory_bytes"]) > 0
        assert not row["failed"]
    assert out.with_suffix(".json").exists()


def test_a_gpu_session_reports_how_each_part_ended(tmp_path):
    command = [sys.executable, "benchmarks/gpu_session.py", "--out", str(tmp_path), "--smoke",
               "--only", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (tmp_path / "tests.log").read_text()
    assert "'code': 0" in done.stdout
